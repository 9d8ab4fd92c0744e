package publish

import (
	"fmt"
	"os"
	"path"
)

// The documents are public, so everyone can read the files.
const (
	dirMode  = 0o755
	fileMode = 0o644
)

// Write writes the files to a directory and creates the directory if necessary. It replaces
// each file atomically, because a web server may be serving the directory. It returns an error
// if a file cannot be written.
func (s Site) Write(directory string) error {
	if err := os.MkdirAll(directory, dirMode); err != nil {
		return fmt.Errorf("create directory for the documents: %w", err)
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return fmt.Errorf("open directory for the documents: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, file := range s.Files {
		if err := write(root, file); err != nil {
			return fmt.Errorf("write document to %s: %w", directory, err)
		}
	}
	return nil
}

// write writes a temporary file and renames it.
func write(root *os.Root, file File) error {
	if err := root.MkdirAll(path.Dir(file.Path), dirMode); err != nil {
		return err
	}
	temporary := file.Path + ".tmp"
	if err := root.WriteFile(temporary, file.Body, fileMode); err != nil {
		return err
	}
	return root.Rename(temporary, file.Path)
}
