package identity

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// EntryError is an entry of a mapping, or of a list of ServiceAccounts, that is
// skipped.
type EntryError struct {
	// Entry is the quoted key of the entry, or its place in a list, such as
	// identities[3].
	Entry string
	// Message says what is wrong with the entry. It never quotes a value.
	Message string
}

// Error returns the entry and its fault.
func (e EntryError) Error() string { return e.Entry + " " + e.Message }

// EntryErrors are the skipped entries of one content, in its order.
type EntryErrors []EntryError

// maxPrinted bounds a message about content with thousands of invalid entries.
const maxPrinted = 10

// String returns the first entries with their faults, and the number of the others.
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

// maxPrintedName is the length of the longest name that Kubernetes accepts, in
// bytes.
const maxPrintedName = validation.DNS1123SubdomainMaxLength

func shorten(s string) string { return s[:min(len(s), maxPrintedName)] }

// InvalidName returns why no ServiceAccount can have the name, or "".
func InvalidName(namespace, name string) string {
	if len(validation.IsDNS1123Label(namespace)) > 0 {
		return "has a namespace that cannot exist: it must be of lower case letters, digits and -"
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "has a ServiceAccount that cannot exist: it must be of lower case letters, digits, - and ."
	}
	return ""
}

// invalidName is InvalidName for a namespace in which * stands for any characters.
func invalidName(namespace, name string) string {
	if strings.Contains(namespace, "*") {
		literal := strings.Trim(strings.ReplaceAll(namespace, "*", ""), "-")
		namespace = cmp.Or(literal, "any")
	}
	return InvalidName(namespace, name)
}
