// Package repopath finds the files of this repository, wherever it is
// checked out and whatever the working directory is.
package repopath

import (
	"path/filepath"
	"runtime"
)

// root is set by the linker of a program whose paths are trimmed (go build -trimpath).
var root string //nolint:gochecknoglobals // the linker sets only variables of a package

// Path joins the elements to the repository's root. A program finds the root only of
// the checkout it was built from, which is how tests and the demo run.
func Path(elements ...string) string {
	if root == "" {
		_, file, _, _ := runtime.Caller(0)
		root = filepath.Dir(filepath.Dir(filepath.Dir(file)))
	}
	return filepath.Join(append([]string{root}, elements...)...)
}
