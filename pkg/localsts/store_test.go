package localsts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStore_sizeLimit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	s, err := openStore(file, "111122223333")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.maxSize = int64(len(before) + 100)
	view := s.view()
	if err := s.update(func(a *account) error {
		a.Roles["x"] = &role{Name: "x", Description: strings.Repeat("x", 200)}
		return nil
	}); err == nil {
		t.Error("update wrote a state that is larger than the limit")
	}
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if s.view() != view || string(after) != string(before) {
		t.Error("failed update changed the state or the file")
	}
}
