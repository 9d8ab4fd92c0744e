package publish

import (
	"fmt"
	"os"
	"path"
)

// What is published is no secret.
const (
	dirMode  = 0o755
	fileMode = 0o644
)

// Write writes the files into a directory, which it makes if need be. Each is there as a
// whole, or as it was: something may be serving the directory.
func (s Site) Write(directory string) error {
	if err := os.MkdirAll(directory, dirMode); err != nil {
		return fmt.Errorf("make the directory of the documents: %w", err)
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return fmt.Errorf("open the directory of the documents: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, file := range s.Files {
		if err := write(root, file); err != nil {
			return fmt.Errorf("write a document into %s: %w", directory, err)
		}
	}
	return nil
}

func write(root *os.Root, file File) error {
	if err := root.MkdirAll(path.Dir(file.Path), dirMode); err != nil {
		return err
	}
	unfinished := file.Path + ".tmp"
	if err := root.WriteFile(unfinished, file.Body, fileMode); err != nil {
		return err
	}
	return root.Rename(unfinished, file.Path)
}
