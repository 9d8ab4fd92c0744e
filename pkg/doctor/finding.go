package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Status says how a link of the chain is.
type Status string

// How a link can be.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Broken  Status = "broken"
	// Unknown is what could not be seen, for want of rights or of an answer.
	Unknown Status = "unknown"
	// Skipped is what is not looked at, since something before it is not well or
	// since it was not wanted.
	Skipped Status = "skipped"
)

// weight orders statuses by how much they matter.
func (s Status) weight() int {
	return slices.Index([]Status{Skipped, OK, Warning, Unknown, Broken}, s)
}

// Step is a part of the chain.
type Step string

// The links, in the order of the chain.
const (
	LinkServiceAccount Step = "ServiceAccount"
	LinkWebhook        Step = "Webhook"
	LinkPod            Step = "Pod"
	LinkIssuer         Step = "Issuer"
	LinkIAM            Step = "IAM"
	LinkSTS            Step = "STS"
)

// Finding is what a check has found.
type Finding struct {
	Check Code `json:"check"`
	Step  Step `json:"step"`
	// Object is the pod that it is about, as pod/NAME; empty for the others.
	Object string `json:"object,omitempty"`
	Status Status `json:"status"`
	// Summary says it in a line, Why more of it.
	Summary string `json:"summary"`
	Why     string `json:"why,omitempty"`
	// Fix is a command that mends it.
	Fix string `json:"fix,omitempty"`
	// Evidence is what was looked at.
	Evidence []EvidenceItem `json:"evidence,omitempty"`
}

// EvidenceItem is a value that was looked at. It is never secret.
type EvidenceItem struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newFinding(status Status, format string, args ...any) Finding {
	return Finding{Status: status, Summary: fmt.Sprintf(format, args...)}
}

func (f Finding) withReason(format string, args ...any) Finding {
	f.Why = fmt.Sprintf(format, args...)
	return f
}

func (f Finding) withFix(format string, args ...any) Finding {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// withEvidence adds a fact, unless it is empty.
func (f Finding) withEvidence(name, value string) Finding {
	if value != "" {
		f.Evidence = append(slices.Clip(f.Evidence), EvidenceItem{name, value})
	}
	return f
}

// Worst is the status of the whole: that of the worst finding. What is skipped
// counts for nothing, and nothing is OK.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		worst = worse(worst, f.Status)
	}
	return worst
}

func worse(a, b Status) Status {
	if cmp.Compare(a.weight(), b.weight()) < 0 {
		return b
	}
	return a
}

// Report is the diagnosis of a ServiceAccount, with one pod or all of its pods.
type Report struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	// Pod is the one that was asked for.
	Pod string `json:"pod,omitempty"`
	// Pods is how many were looked at.
	Pods int `json:"pods"`
	// PodsUnseen says that they could not be read.
	PodsUnseen bool `json:"podsUnreadable,omitempty"`
	// Role is empty if there is none, or it is not known.
	Role     string    `json:"role,omitempty"`
	Status   Status    `json:"status"`
	Findings []Finding `json:"findings"`
}

// ClusterReport is the diagnosis of all ServiceAccounts that have an identity.
type ClusterReport struct {
	Status Status `json:"status"`
	// Findings are about what all have in common.
	Findings        []Finding `json:"findings"`
	ServiceAccounts []Report  `json:"serviceAccounts"`
}
