package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/doctor"
)

func TestParseTarget(t *testing.T) {
	for name, test := range map[string]struct {
		args       []string
		kind, want string
		fails      bool
	}{
		"a name without a kind":            {[]string{"cart"}, "", "cart", false},
		"a pod":                            {[]string{"pod", "cart"}, "pod", "cart", false},
		"a pod with a slash":               {[]string{"pod/cart"}, "pod", "cart", false},
		"pods as kubectl abbreviates them": {[]string{"po/cart"}, "pod", "cart", false},
		"a ServiceAccount":                 {[]string{"serviceaccount", "cart"}, "serviceaccount", "cart", false},
		"a ServiceAccount, abbreviated":    {[]string{"sa", "cart"}, "serviceaccount", "cart", false},
		"a ServiceAccount with a slash":    {[]string{"ServiceAccount/cart"}, "serviceaccount", "cart", false},
		"a kind without a name":            {[]string{"pod"}, "", "", true},
		"a kind with a slash and no name":  {[]string{"pod/"}, "", "", true},
		"another kind":                     {[]string{"deployment/cart"}, "", "", true},
		"a kind and a name with a slash":   {[]string{"pod", "pod/cart"}, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			kind, got, err := parseTarget(test.args)
			if kind != test.kind || got != test.want || (err != nil) != test.fails {
				t.Errorf("got %q, %q, %v; want %q, %q, error: %t", kind, got, err, test.kind, test.want, test.fails)
			}
		})
	}
}

// findings returns one finding of each status.
func findings() []doctor.Finding {
	return []doctor.Finding{
		{Check: "service_account", Step: doctor.StepServiceAccount, Status: doctor.OK, Summary: "ServiceAccount shop/cart exists"},
		{Check: "annotations", Step: doctor.StepServiceAccount, Status: doctor.Warning, Summary: "1 mistake", Why: "value \x1b[31mcolors\x1b[0m", Fix: "kubectl annotate"},
		{
			Check: "pod_token", Step: doctor.StepPod, Object: "pod/cart-1", Status: doctor.Broken, Summary: "another audience", Why: "the pod is older", Fix: "kubectl delete",
			Evidence: []doctor.EvidenceItem{{Name: "lifetime", Value: "24h0m0s"}},
		},
		{Check: "pod_token", Step: doctor.StepPod, Object: "pod/cart-2", Status: doctor.Unknown, Summary: "not allowed to get pods", Why: "request a role"},
		{Check: "sts_exchange", Step: doctor.StepSTS, Status: doctor.Skipped, Summary: "skipped because of --no-exchange", Why: "never printed"},
	}
}

func TestDoctor_output(t *testing.T) {
	report := doctor.Report{Namespace: "shop", ServiceAccount: "cart", Pods: 2, Role: "arn:aws:iam::111122223333:role/cart", Status: doctor.Broken, Findings: findings()}
	ofPod := report
	ofPod.Pod = "cart-1"
	cluster := doctor.ClusterReport{Status: doctor.Broken, Findings: findings()[:1], ServiceAccounts: []doctor.Report{
		report, {Namespace: "shop", ServiceAccount: "till", Status: doctor.OK, PodsUnreadable: true},
	}}
	for name, test := range map[string]struct {
		set  func(*doctorOptions)
		text func(*doctorOptions) textPrinter
		of   any
	}{
		"doctor serviceaccount": {nil, func(d *doctorOptions) textPrinter { return reportText{d.findingPrinter(), report}.write }, report},
		"doctor with evidence":  {func(d *doctorOptions) { d.evidence = true }, func(d *doctorOptions) textPrinter { return reportText{d.findingPrinter(), ofPod}.write }, ofPod},
		"doctor problems color": {func(d *doctorOptions) { d.problems, d.color = true, "always" }, func(d *doctorOptions) textPrinter { return reportText{d.findingPrinter(), report}.write }, report},
		"doctor cluster":        {nil, func(d *doctorOptions) textPrinter { return clusterText{d.findingPrinter(), cluster}.write }, cluster},
		"doctor cluster empty": {nil, func(d *doctorOptions) textPrinter {
			return clusterText{d.findingPrinter(), doctor.ClusterReport{Status: doctor.OK}}.write
		}, nil},
		"doctor json": {func(d *doctorOptions) { d.output = "json" }, func(d *doctorOptions) textPrinter { return nil }, cluster},
		"doctor yaml": {func(d *doctorOptions) { d.output = "yaml" }, func(d *doctorOptions) textPrinter { return nil }, ofPod},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			d := &doctorOptions{options: &options{IOStreams: genericiooptions.IOStreams{Out: &out}, color: "never"}}
			if test.set != nil {
				test.set(d)
			}
			if err := d.print(test.of, test.text(d)); err != nil {
				t.Fatal(err)
			}
			if d.color == "never" && strings.Contains(out.String(), "\x1b") {
				t.Error("got a control character of a finding in the output")
			}
			golden(t, name, out.String())
		})
	}
}

func TestDoctor_exitCode(t *testing.T) {
	d := &doctorOptions{options: &options{IOStreams: genericiooptions.IOStreams{Out: &bytes.Buffer{}}, output: "json"}}
	for status, want := range map[doctor.Status]error{
		doctor.OK: nil, doctor.Warning: nil, doctor.Broken: exitCodeError(exitBroken), doctor.Unknown: exitCodeError(exitUnknown),
	} {
		if got := d.printReport(nil, status, nil); !errors.Is(got, want) {
			t.Errorf("%s: got %v, want %v", status, got, want)
		}
	}
}

func TestDoctor_noAWS(t *testing.T) {
	t.Setenv("AWS_PROFILE", "missing")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	// Nothing listens on this port, so each check reports its own failed read.
	got := newBench().run(t, "doctor sa cart -n shop --server http://127.0.0.1:1 --no-aws --no-exchange --problems-only")
	if !strings.Contains(got, "could not get serviceaccounts/cart") || !strings.Contains(got, "[exit code 3]") {
		t.Errorf("got %s", got)
	}
	got = newBench().run(t, "doctor sa cart -n shop --server http://127.0.0.1:1")
	if !strings.Contains(got, "--no-aws --no-exchange") || !strings.Contains(got, "[exit code 1]") {
		t.Errorf("got %s", got)
	}
}

func TestDoctor_invalidTarget(t *testing.T) {
	var out, errOut bytes.Buffer
	code := realMain(context.Background(), []string{"doctor", "deployment/cart"}, genericiooptions.IOStreams{Out: &out, ErrOut: &errOut})
	if code != exitFailure || !strings.Contains(errOut.String(), "want pod NAME, serviceaccount NAME") {
		t.Errorf("got exit code %d and %s", code, errOut.String())
	}
}
