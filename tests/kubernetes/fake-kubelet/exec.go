package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// ExecInContainer runs the command on this machine, in the pod's folder.
func (p pods) ExecInContainer(ctx context.Context, pod, _, _ string, args []string,
	in io.Reader, out, errOut io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Dir = filepath.Join(p.root, pod, "files")
	// Nothing of whoever runs the tests, as in a container.
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + command.Dir, "HOSTNAME=" + path.Base(pod), "TERM=xterm",
	}
	if err := os.MkdirAll(command.Dir, 0o755); err != nil {
		return err
	}
	if tty {
		return exitCode(runInTerminal(command, in, out, resize))
	}
	return exitCode(run(command, in, out, errOut))
}

func run(command *exec.Cmd, in io.Reader, out, errOut io.Writer) error {
	command.Stdout, command.Stderr = out, errOut
	if in != nil {
		// Not command.Stdin: that would wait for the client to close it after the command ended.
		stdin, err := command.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
	}
	return command.Run()
}

func runInTerminal(command *exec.Cmd, in io.Reader, out io.Writer,
	resize <-chan remotecommand.TerminalSize,
) error {
	terminal, err := pty.Start(command)
	if err != nil {
		return err
	}
	defer terminal.Close()
	go func() {
		for size := range resize {
			_ = pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width})
		}
	}()
	if in != nil {
		go func() { _, _ = io.Copy(terminal, in) }()
	}
	if out != nil {
		// Ends with an error when the last process lets go of the terminal: that is its end.
		_, _ = io.Copy(out, terminal)
	}
	return command.Wait()
}

// exitCode makes of a command's failure what the client is told as its exit code.
func exitCode(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return utilexec.CodeExitError{Err: err, Code: code}
}

// AttachContainer behaves as if the container ran `cat` when there is input, and else shows
// what is logged from now on.
func (p pods) AttachContainer(ctx context.Context, pod, _, _ string,
	in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize,
) error {
	if in != nil && out != nil {
		_, err := io.Copy(out, in)
		return err
	}
	none := int64(0)
	return p.readLogs(ctx, pod, &logOptions{TailLines: &none, Follow: true}, out, errOut)
}
