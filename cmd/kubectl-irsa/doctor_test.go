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

func TestATargetIsWrittenInSeveralWays(t *testing.T) {
	for name, test := range map[string]struct {
		args       []string
		kind, want string
		fails      bool
	}{
		"a name alone":                     {[]string{"cart"}, "", "cart", false},
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
				t.Errorf("got %q, %q, %v", kind, got, err)
			}
		})
	}
}

// findings are one of each status.
func findings() []doctor.Finding {
	return []doctor.Finding{
		{Check: "service_account", Link: doctor.LinkServiceAccount, Status: doctor.OK, Summary: "ServiceAccount shop/cart exists"},
		{Check: "annotations", Link: doctor.LinkServiceAccount, Status: doctor.Warning, Summary: "1 mistake", Why: "it has \x1b[31mcolors\x1b[0m", Fix: "kubectl annotate it"},
		{
			Check: "pod_token", Link: doctor.LinkPod, Object: "pod/cart-1", Status: doctor.Broken, Summary: "another audience", Why: "it is older", Fix: "kubectl delete it",
			Evidence: []doctor.Fact{{Name: "lifetime", Value: "24h0m0s"}},
		},
		{Check: "pod_token", Link: doctor.LinkPod, Object: "pod/cart-2", Status: doctor.Unknown, Summary: "not allowed to look", Why: "who may grants it"},
		{Check: "sts_exchange", Link: doctor.LinkSTS, Status: doctor.Skipped, Summary: "not tried", Why: "never told"},
	}
}

func TestWhatDoctorPrints(t *testing.T) {
	report := doctor.Report{Namespace: "shop", ServiceAccount: "cart", Pods: 2, Role: "arn:aws:iam::111122223333:role/cart", Status: doctor.Broken, Findings: findings()}
	ofPod := report
	ofPod.Pod = "cart-1"
	cluster := doctor.ClusterReport{Status: doctor.Broken, Findings: findings()[:1], ServiceAccounts: []doctor.Report{
		report, {Namespace: "shop", ServiceAccount: "till", Status: doctor.OK, PodsUnseen: true},
	}}
	for name, test := range map[string]struct {
		set  func(*diagnosis)
		text func(*diagnosis) printer
		of   any
	}{
		"doctor of a ServiceAccount":    {nil, func(d *diagnosis) printer { return reportText{d.style(), report}.write }, report},
		"doctor with evidence":          {func(d *diagnosis) { d.evidence = true }, func(d *diagnosis) printer { return reportText{d.style(), ofPod}.write }, ofPod},
		"doctor with problems in color": {func(d *diagnosis) { d.problems, d.color = true, "always" }, func(d *diagnosis) printer { return reportText{d.style(), report}.write }, report},
		"doctor of a cluster":           {nil, func(d *diagnosis) printer { return clusterText{d.style(), cluster}.write }, cluster},
		"doctor of an empty cluster": {nil, func(d *diagnosis) printer {
			return clusterText{d.style(), doctor.ClusterReport{Status: doctor.OK}}.write
		}, nil},
		"doctor as json": {func(d *diagnosis) { d.output = "json" }, func(d *diagnosis) printer { return nil }, cluster},
		"doctor as yaml": {func(d *diagnosis) { d.output = "yaml" }, func(d *diagnosis) printer { return nil }, ofPod},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			d := &diagnosis{options: &options{IOStreams: genericiooptions.IOStreams{Out: &out}, color: "never"}}
			if test.set != nil {
				test.set(d)
			}
			if err := d.print(test.of, test.text(d)); err != nil {
				t.Fatal(err)
			}
			if d.color == "never" && strings.Contains(out.String(), "\x1b") {
				t.Error("what others wrote commands the terminal")
			}
			golden(t, name, out.String())
		})
	}
}

func TestTheExitCodeSaysHowItIs(t *testing.T) {
	d := &diagnosis{options: &options{IOStreams: genericiooptions.IOStreams{Out: &bytes.Buffer{}}, output: "json"}}
	for status, want := range map[doctor.Status]error{
		doctor.OK: nil, doctor.Warning: nil, doctor.Broken: verdict(exitBroken), doctor.Unknown: verdict(exitUnknown),
	} {
		if got := d.tell(nil, status, nil); !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", status, got, want)
		}
	}
}

func TestAWSIsNotAskedForWhereItIsLeftOut(t *testing.T) {
	t.Setenv("AWS_PROFILE", "missing")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	// Nobody answers there, which each check finds for itself.
	got := newBench().run(t, "doctor sa cart -n shop --server http://127.0.0.1:1 --no-aws --no-exchange --problems")
	if !strings.Contains(got, "could not get serviceaccounts/cart") || !strings.Contains(got, "[exit code 3]") {
		t.Errorf("got %s", got)
	}
	got = newBench().run(t, "doctor sa cart -n shop --server http://127.0.0.1:1")
	if !strings.Contains(got, "--no-aws --no-exchange") || !strings.Contains(got, "[exit code 1]") {
		t.Errorf("got %s", got)
	}
}

func TestAMistakenTargetIsToldBeforeAnythingIsRead(t *testing.T) {
	var out, errOut bytes.Buffer
	code := realMain(context.Background(), []string{"doctor", "deployment/cart"}, genericiooptions.IOStreams{Out: &out, ErrOut: &errOut})
	if code != exitFailure || !strings.Contains(errOut.String(), "want pod NAME, serviceaccount NAME") {
		t.Errorf("exit code %d, %s", code, errOut.String())
	}
}
