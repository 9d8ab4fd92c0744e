package localsts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// maxStateFile is the maximum size of the state file in bytes. Only a state with policies
// that are mostly white space can exceed it: the quotas do not count white space.
const maxStateFile = 256 << 20

// store holds the account in memory and, if it has a file, also in that file.
type store struct {
	current atomic.Pointer[account]
	// updating serializes updates.
	updating sync.Mutex
	// file is the path of the state file, or empty for a store without a file.
	file string
	// maxSize is the maximum size of the file in bytes. The store never writes a file that it
	// could not read again.
	maxSize int64
}

// openStore returns a store with the account in the file. If the file does not exist,
// openStore creates it, so that a file that is not writable is an error at the start.
// It returns an error if the file is invalid or belongs to another account: a new state
// would overwrite its content.
func openStore(file, accountID string) (*store, error) {
	s := &store{file: file, maxSize: maxStateFile}
	if file == "" {
		s.current.Store(newAccount(accountID))
		return s, nil
	}
	content, err := readBounded(file)
	if errors.Is(err, fs.ErrNotExist) {
		created := newAccount(accountID)
		if err := s.write(created); err != nil {
			return nil, err
		}
		s.current.Store(created)
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	read, err := parseAccount(content)
	if err != nil {
		return nil, fmt.Errorf("read state file %s: %w; fix the file, or move it away to start with an empty state", file, err)
	}
	if read.ID != accountID {
		return nil, fmt.Errorf("state file %s belongs to account %s, not to %s; set --state-file to another file, or --account-id to the account of the file", file, read.ID, accountID)
	}
	s.current.Store(read)
	return s, nil
}

// readBounded reads a file. It returns an error if the file is larger than maxStateFile.
func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxStateFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", file, maxStateFile)
	}
	return os.ReadFile(file) //nolint:gosec // the flag's file
}

// view returns the current account. The caller must not modify it.
func (s *store) view() *account { return s.current.Load() }

// update calls do with a copy of the account, writes the copy to the file, and makes it the
// current account. It returns an error, and changes nothing, if do or the write fails.
func (s *store) update(do func(*account) error) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	next := s.current.Load().clone()
	if err := do(next); err != nil {
		return err
	}
	if s.file != "" {
		if err := s.write(next); err != nil {
			return err
		}
	}
	s.current.Store(next)
	return nil
}

// write replaces the file atomically. A reader finds either the old or the new state, even
// after a crash. It returns an error if the state is larger than maxSize or cannot be
// written.
func (s *store) write(a *account) error {
	content, err := a.encode()
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if int64(len(content)) > s.maxSize {
		return fmt.Errorf("write state file %s: state is larger than the maximum of %d bytes", s.file, s.maxSize)
	}
	if err := replaceFile(s.file, content); err != nil {
		return fmt.Errorf("write state file %s: %w", s.file, err)
	}
	return nil
}

// replaceFile writes content to a temporary file next to file and renames it to file.
func replaceFile(file string, content []byte) (err error) {
	directory := filepath.Dir(file)
	// CreateTemp sets mode 0600, which is necessary because the file holds the session key.
	next, err := os.CreateTemp(directory, filepath.Base(file)+".next-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next.Name())
		}
	}()
	if _, err := next.Write(content); err != nil {
		return errors.Join(err, next.Close())
	}
	if err := next.Sync(); err != nil {
		return errors.Join(err, next.Close())
	}
	if err := next.Close(); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), file); err != nil {
		return err
	}
	// Ignore errors of this sync: the new state is already in place. An error would make
	// the caller report that nothing changed.
	if parent, err := os.Open(directory); err == nil { //nolint:gosec // the directory of the flag's file
		_ = parent.Sync()
		_ = parent.Close()
	}
	return nil
}
