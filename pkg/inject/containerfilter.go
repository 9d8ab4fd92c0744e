package inject

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// containerFilter selects the containers of a pod to inject.
type containerFilter struct {
	skip, include []string
	// included reports whether include applies, even if it is empty.
	included bool
}

func (p *patchBuilder) newContainerFilter() containerFilter {
	var s containerFilter
	s.skip, _ = p.containerList(identity.SkipContainersAnnotation, "no container is skipped")
	s.include, s.included = p.containerList(identity.IncludeContainersAnnotation, "all containers are included")
	return s
}

// reason returns the reason to skip a container, or "" if it is selected.
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

// maxListBytes is the maximum size of a list of containers: two hundred names of at most
// 63 characters.
const maxListBytes = 16 << 10

// containerList parses an annotation with container names, as one record of
// comma-separated values. Spaces around names are ignored. It warns about a name that no
// container has, which is probably misspelled. fallback describes the effect of an
// invalid value, for the warning.
func (p *patchBuilder) containerList(annotation, fallback string) (names []string, ok bool) {
	annotation = p.settings.AnnotationPrefix + "/" + annotation
	value := p.pod.Metadata.Annotations[annotation]
	if value == "" {
		return nil, false
	}
	if len(value) > maxListBytes {
		p.warn(MalformedAnnotation, "pod annotation %s has more than %d bytes: %s", annotation, maxListBytes, fallback)
		return nil, false
	}
	names, err := csv.NewReader(strings.NewReader(value)).Read()
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	if err != nil {
		problem := identity.AnnotationWarning{
			Annotation: annotation, Value: value, Message: "is not a list of comma-separated values", Fallback: fallback,
		}
		p.warn(MalformedAnnotation, "pod annotation %s", problem)
		return nil, false
	}
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	// A list without names counts as absent, like an empty value.
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	for _, name := range names {
		if !p.pod.Spec.hasContainer(name) {
			p.warn(UnknownContainer, "pod annotation %s names %q, but the pod has no such container", annotation, name)
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
