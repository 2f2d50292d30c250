package main

import (
	"context"
	"io"
	"net"
	"strconv"
)

// PortForward joins the stream with the same port of this machine.
func (p pods) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	var dialer net.Dialer
	target, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer target.Close()
	go func() {
		_, _ = io.Copy(target, stream)
		// The other direction goes on: a client may well close its half and then read.
		_ = target.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, target)
	return err
}
