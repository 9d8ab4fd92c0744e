// Package repopath finds the files of this repository, wherever it is
// checked out and whatever the working directory is.
package repopath

import (
	"path/filepath"
	"runtime"
)

// Path joins the elements to the repository's root. The root is known from the
// place of this source file when it was compiled, so a binary is only good for
// the checkout it was built from, which is how tests and the demo run.
func Path(elements ...string) string {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	return filepath.Join(append([]string{root}, elements...)...)
}
