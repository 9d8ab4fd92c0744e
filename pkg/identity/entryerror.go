package identity

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// EntryError is the error of an invalid entry in a mapping or in a list of ServiceAccounts. The
// entry is skipped.
type EntryError struct {
	// Entry is the quoted key of the entry, or its position in a list, such as
	// identities[3].
	Entry string
	// Message describes the error. It never contains a value.
	Message string
}

// Error returns the entry and the message.
func (e EntryError) Error() string { return e.Entry + " " + e.Message }

// EntryErrors are the skipped entries of a mapping or list, in its order.
type EntryErrors []EntryError

// maxPrinted is the maximum number of entries in a message.
const maxPrinted = 10

// String returns the errors of the first entries, and the number of the others.
func (e EntryErrors) String() string {
	var printed []string
	for _, entry := range e[:min(len(e), maxPrinted)] {
		printed = append(printed, entry.Error())
	}
	if rest := len(e) - len(printed); rest > 0 {
		printed = append(printed, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(printed, "; ")
}

// maxPrintedName is the length in bytes of the longest name that Kubernetes accepts.
const maxPrintedName = validation.DNS1123SubdomainMaxLength

// shorten truncates s to maxPrintedName bytes.
func shorten(s string) string { return s[:min(len(s), maxPrintedName)] }

// InvalidName returns a message if no ServiceAccount can have this namespace and name, and ""
// otherwise.
func InvalidName(namespace, name string) string {
	if len(validation.IsDNS1123Label(namespace)) > 0 {
		return "has an invalid namespace: use lowercase letters, digits and -"
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "has an invalid ServiceAccount name: use lowercase letters, digits, - and ."
	}
	return ""
}

// invalidName is like InvalidName, but * in the namespace stands for any characters.
func invalidName(namespace, name string) string {
	if strings.Contains(namespace, "*") {
		literal := strings.Trim(strings.ReplaceAll(namespace, "*", ""), "-")
		namespace = cmp.Or(literal, "any")
	}
	return InvalidName(namespace, name)
}
