package containercredentials

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// List is a set of ServiceAccounts that use EKS Pod Identity.
type List map[types.NamespacedName]struct{}

// Contains reports whether a ServiceAccount uses EKS Pod Identity.
func (l List) Contains(name types.NamespacedName) bool {
	_, ok := l[name]
	return ok
}

// Parse parses {"identities": [{"namespace": "", "serviceAccount": ""}]}. It skips invalid
// entries. It returns a List of the valid entries, and the errors of the others. It returns an
// error, and no List, if content does not have this form.
func Parse(content []byte) (List, identity.EntryErrors, error) {
	var document *struct {
		Identities []json.RawMessage `json:"identities"`
	}
	// Do not wrap the decoder's error, which can quote the content.
	if err := json.Unmarshal(content, &document); err != nil || document == nil {
		return nil, nil, errors.New(`not JSON of the form {"identities": [{"namespace": "", "serviceAccount": ""}]}`)
	}
	listed := List{}
	var skipped identity.EntryErrors
	for i, entry := range document.Identities {
		name, problem := parseEntry(entry)
		if problem != "" {
			skipped = append(skipped, identity.EntryError{Entry: fmt.Sprintf("identities[%d]", i), Message: problem})
			continue
		}
		listed[name] = struct{}{}
	}
	return listed, skipped, nil
}

// parseEntry returns the ServiceAccount of an entry. It also returns a message if the entry is
// invalid.
func parseEntry(content json.RawMessage) (types.NamespacedName, string) {
	var entry *struct {
		Namespace      string `json:"namespace"`
		ServiceAccount string `json:"serviceAccount"`
	}
	switch err := json.Unmarshal(content, &entry); {
	case err != nil:
		return types.NamespacedName{}, "has fields of the wrong type"
	case entry == nil:
		return types.NamespacedName{}, "is null"
	case entry.Namespace == "" || entry.ServiceAccount == "":
		return types.NamespacedName{}, "has no namespace or no serviceAccount"
	}
	return types.NamespacedName{Namespace: entry.Namespace, Name: entry.ServiceAccount},
		identity.InvalidName(entry.Namespace, entry.ServiceAccount)
}
