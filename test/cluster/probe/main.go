// This program reports how a container sees its mounts, as a line of JSON in its
// termination message.
//
//	probe TOKEN VOLUME
//
// TOKEN is the path of a token file, VOLUME the path of a volume's directory.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// report is the content of the termination message.
type report struct {
	// Token is true if the file has a JWT.
	Token bool `json:"token"`
	// Marker is true if the volume has a file marker with content. Writable is true if
	// the program can write to the volume.
	Marker   bool `json:"marker"`
	Writable bool `json:"writable"`
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "probe: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(token, volume string) error {
	var found report
	if content, err := os.ReadFile(token); err == nil { //nolint:gosec // the test says which
		found.Token = bytes.Count(content, []byte(".")) == 2
	}
	if content, err := os.ReadFile(filepath.Join(volume, "marker")); err == nil { //nolint:gosec // the test chooses the path
		found.Marker = len(content) > 0
	}
	written := filepath.Join(volume, "written")
	if err := os.WriteFile(written, nil, 0o600); err == nil { //nolint:gosec // the test chooses the path
		found.Writable = true
	}
	encoded, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return os.WriteFile("/dev/termination-log", encoded, 0o600)
}
