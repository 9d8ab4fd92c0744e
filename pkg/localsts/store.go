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

// maxStateFile is far more than a state takes whose policies are not mostly blanks,
// which the quotas do not count.
const maxStateFile = 256 << 20

// store holds the account, in memory or in a file as well.
type store struct {
	current atomic.Pointer[account]
	// changing is held by the one who makes a change.
	changing sync.Mutex
	// file is empty for memory alone.
	file string
	// most is the most bytes that are written: no more than will be read.
	most int64
}

// openStore returns the account that the file holds. A file that does not exist
// is made, so that one that cannot be written is found at the start. One that
// cannot be read is an error: to begin anew would throw away what it holds.
func openStore(file, accountID string) (*store, error) {
	s := &store{file: file, most: maxStateFile}
	if file == "" {
		s.current.Store(newAccount(accountID))
		return s, nil
	}
	content, err := readBounded(file)
	if errors.Is(err, fs.ErrNotExist) {
		made := newAccount(accountID)
		if err := s.write(made); err != nil {
			return nil, err
		}
		s.current.Store(made)
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state file: %w", err)
	}
	read, err := parseAccount(content)
	if err != nil {
		return nil, fmt.Errorf("read the state file %s: %w; mend it, or move it away to begin anew", file, err)
	}
	if read.ID != accountID {
		return nil, fmt.Errorf("the state file %s is of the account %s, not of %s: give another file, or its account", file, read.ID, accountID)
	}
	s.current.Store(read)
	return s, nil
}

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

// view returns the account as it is now. It must not be changed.
func (s *store) view() *account { return s.current.Load() }

// update lets do change a copy of the account, and has it take the account's place
// once it is written. After an error, from do or from writing, all is as before.
func (s *store) update(do func(*account) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
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

// write replaces the file as a whole: whoever reads it, even after a crash, finds
// the old state or the new.
func (s *store) write(a *account) error {
	content, err := a.encode()
	if err != nil {
		return fmt.Errorf("encode the state: %w", err)
	}
	if int64(len(content)) > s.most {
		return fmt.Errorf("write the state file %s: it would be larger than %d bytes, and could not be read again", s.file, s.most)
	}
	if err := replaceFile(s.file, content); err != nil {
		return fmt.Errorf("write the state file %s: %w", s.file, err)
	}
	return nil
}

func replaceFile(file string, content []byte) (err error) {
	directory := filepath.Dir(file)
	// Its mode is 0600: it holds the key of the session tokens.
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
	// From here on the new state is there for all to read. That a crash could still
	// bring back the old one is no reason to tell the caller that nothing changed.
	if parent, err := os.Open(directory); err == nil { //nolint:gosec // the directory of the flag's file
		_ = parent.Sync()
		_ = parent.Close()
	}
	return nil
}
