// Package repopath returns paths of this repository's files, independent of the working
// directory.
package repopath

import (
	"path/filepath"
	"runtime"
)

// root is set by the linker for programs built with trimmed paths (go build -trimpath).
var root string //nolint:gochecknoglobals // the linker sets only variables of a package

// Path joins the elements to the repository's root, which is the checkout from which the
// program was built.
func Path(elements ...string) string {
	if root == "" {
		_, file, _, _ := runtime.Caller(0)
		root = filepath.Dir(filepath.Dir(filepath.Dir(file)))
	}
	return filepath.Join(append([]string{root}, elements...)...)
}
