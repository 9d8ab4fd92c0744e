package process

import (
	"bytes"
	"fmt"
	"os"
)

// tailLines is how much of a log goes into an error: enough for the reason of
// a failed start, which programs print last, and still one screen.
const tailLines = 15

// LogTail returns the last lines of the output.
func (p *Process) LogTail() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(unreadable: %v)", err)
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
