package inject

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// containerFilter says which containers of a pod are left alone.
type containerFilter struct {
	skip, include []string
	// included says that include counts, even if it is empty.
	included bool
}

func (p *patchBuilder) newContainerFilter() containerFilter {
	var s containerFilter
	s.skip, _ = p.containerList(identity.SkipContainersAnnotation, "no container is skipped")
	s.include, s.included = p.containerList(identity.IncludeContainersAnnotation, "all containers are included")
	return s
}

func (s *containerFilter) reason(container string) Reason {
	switch {
	case slices.Contains(s.skip, container):
		return SkipContainers
	case s.included && !slices.Contains(s.include, container):
		return NotIncluded
	default:
		return ""
	}
}

// maxListBytes is what a list of containers may have: two hundred names, of 63 letters
// at most.
const maxListBytes = 16 << 10

// containerList reads an annotation that names containers, as one record of
// comma-separated values. Names may be surrounded by spaces. A name that no
// container has is probably a slip of the pen, and told.
func (p *patchBuilder) containerList(annotation, used string) (names []string, ok bool) {
	annotation = p.settings.AnnotationPrefix + "/" + annotation
	value := p.pod.Metadata.Annotations[annotation]
	if value == "" {
		return nil, false
	}
	if len(value) > maxListBytes {
		p.warn(MalformedAnnotation, "pod annotation %s has more than %d bytes, which no list of containers has: %s", annotation, maxListBytes, used)
		return nil, false
	}
	names, err := csv.NewReader(strings.NewReader(value)).Read()
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	if err != nil {
		problem := identity.AnnotationWarning{
			Annotation: annotation, Value: value, Message: "is not a list of comma-separated values", Fallback: used,
		}
		p.warn(MalformedAnnotation, "pod annotation %s", problem)
		return nil, false
	}
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	// A list that names nothing is none, as an empty one is.
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	for _, name := range names {
		if !p.pod.Spec.hasContainer(name) {
			p.warn(UnknownContainer, "pod annotation %s names %q, which is no container of the pod", annotation, name)
		}
	}
	return names, len(names) > 0
}

func (s *Spec) hasContainer(name string) bool {
	return hasContainer(s.Containers, name) || hasContainer(s.InitContainers, name) || hasContainer(s.EphemeralContainers, name)
}

func hasContainer(containers []Container, name string) bool {
	return slices.ContainsFunc(containers, func(c Container) bool { return c.Name == name })
}
