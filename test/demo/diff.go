package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// contextLines is the number of equal lines shown before and after a difference.
const contextLines = 2

// change is the difference between a pod before and after.
type change struct {
	// lines are a unified diff of the two in YAML, without line numbers.
	lines []string
	// lossy is true if a field or list element of the pod before is missing,
	// changed or in another order in the pod after. The lines do not suffice
	// for that: a diff may show a pure addition as a move.
	lossy bool
}

// apiAccessVolume matches the volume with the token for the API server. The API
// server adds it to each pod, with a random suffix.
var apiAccessVolume = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}\b`)

func compare(before, after *corev1.Pod) (change, error) {
	a, err := summarize(before)
	if err != nil {
		return change{}, err
	}
	b, err := summarize(after)
	if err != nil {
		return change{}, err
	}
	var objectA, objectB any
	if err := yaml.Unmarshal(a, &objectA); err != nil {
		return change{}, err
	}
	if err := yaml.Unmarshal(b, &objectB); err != nil {
		return change{}, err
	}
	return change{lines: diff(string(a), string(b)), lossy: !contains(objectB, objectA)}, nil
}

// summarize returns a pod as YAML, with the fields that the user sets and without
// the ones that the API server generates.
func summarize(pod *corev1.Pod) ([]byte, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return nil, fmt.Errorf("encode pod: %w", err)
	}
	text, err := yaml.Marshal(map[string]any{
		"metadata": map[string]any{"labels": pod.Labels, "annotations": pod.Annotations},
		"spec":     object["spec"],
	})
	if err != nil {
		return nil, fmt.Errorf("encode pod: %w", err)
	}
	return apiAccessVolume.ReplaceAll(text, []byte("kube-api-access")), nil
}

// gap replaces omitted lines.
const gap = "…"

func diff(before, after string) []string {
	a, b := split(before), split(after)
	var lines []string
	add := func(sign string, from []string) {
		for _, line := range from {
			lines = append(lines, sign+line)
		}
	}
	matcher := difflib.NewMatcherWithJunk(a, b, false, nil)
	for i, hunk := range matcher.GetGroupedOpCodes(contextLines) {
		if i > 0 {
			lines = append(lines, gap)
		}
		for _, op := range hunk {
			switch op.Tag {
			case 'e':
				add("  ", a[op.I1:op.I2])
			default: // delete, insert, or both, which is replace
				add("- ", a[op.I1:op.I2])
				add("+ ", b[op.J1:op.J2])
			}
		}
	}
	return lines
}

func split(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// contains reports whether whole has every key and value of part's maps, and
// every element of part's lists in the same order. A list in whole may have
// other elements in between.
func contains(whole, part any) bool {
	switch part := part.(type) {
	case map[string]any:
		wholeMap, ok := whole.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range part {
			if wholeValue, ok := wholeMap[key]; !ok || !contains(wholeValue, value) {
				return false
			}
		}
		return true
	case []any:
		wholeList, _ := whole.([]any)
		for _, element := range wholeList {
			if len(part) > 0 && contains(element, part[0]) {
				part = part[1:]
			}
		}
		return len(part) == 0
	default:
		return reflect.DeepEqual(whole, part)
	}
}

// withoutContext returns only the lines that differ, with a gap between separate groups.
func (c change) withoutContext() []string {
	var lines []string
	apart := false
	for _, line := range c.lines {
		if !strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "-") {
			apart = len(lines) > 0
			continue
		}
		if apart {
			lines = append(lines, gap)
		}
		lines, apart = append(lines, line), false
	}
	return lines
}
