//! Codes ↔ HTTP/2's 32-bit reasons.

use h2::Reason;

use crate::protocol::code::Code;

/// What is added to a code's number: HTTP/2's own reasons stay apart from ours.
const BASE: u32 = 0x4354_0000;

/// The reason of RST_STREAM that stands for `code`.
pub(super) fn reason(code: Code) -> Reason {
    Reason::from(BASE | code as u32)
}

/// The code that a reason stands for; of HTTP/2's own the nearest.
pub(super) fn code(reason: Reason) -> Code {
    let number = u32::from(reason);
    if number & 0xffff_0000 == BASE {
        return Code::from_number(u64::from(number & 0xffff));
    }
    match reason {
        Reason::NO_ERROR => Code::Done,
        Reason::CANCEL => Code::Cancelled,
        Reason::REFUSED_STREAM => Code::RequestRefused,
        Reason::PROTOCOL_ERROR
        | Reason::FLOW_CONTROL_ERROR
        | Reason::STREAM_CLOSED
        | Reason::FRAME_SIZE_ERROR
        | Reason::COMPRESSION_ERROR => Code::Protocol,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_travels_and_none_is_one_of_http2() {
        for wanted in Code::ALL {
            assert_eq!(code(reason(wanted)), wanted);
            assert!(u32::from(reason(wanted)) > u32::from(Reason::HTTP_1_1_REQUIRED));
        }
        assert_eq!(code(Reason::CANCEL), Code::Cancelled);
        assert_eq!(code(Reason::from(BASE | 0xffff)), Code::Internal);
        assert_eq!(code(Reason::from(0x1234)), Code::Internal);
    }
}
