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

// Write writes the files into a folder, which it makes if need be. Each is there as a
// whole, or as it was: something may be serving the folder.
func (s Site) Write(folder string) error {
	if err := os.MkdirAll(folder, dirMode); err != nil {
		return fmt.Errorf("make the folder of the documents: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("open the folder of the documents: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, file := range s.Files {
		if err := write(root, file); err != nil {
			return fmt.Errorf("write a document into %s: %w", folder, err)
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
