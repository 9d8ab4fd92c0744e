package process

import (
	"bytes"
	"fmt"
	"os"
)

// tailLines is the number of log lines in an error. It is less than a screen, and enough for
// the reason of a failed start, which programs print last.
const tailLines = 15

// LogTail returns the last lines of the log.
func (p *Process) LogTail() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(unreadable: %v)", err)
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
