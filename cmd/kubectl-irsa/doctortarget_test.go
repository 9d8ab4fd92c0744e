package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
)

func TestDoctor_nameWithoutKind(t *testing.T) {
	client := fake.NewClientset(
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "cart", Namespace: "shop"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "cart", Namespace: "shop"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "till", Namespace: "shop"}},
	)
	for name, want := range map[string]string{"cart": kindPod, "till": kindAccount} {
		if got, err := kindOf(t.Context(), client, "shop", name); got != want || err != nil {
			t.Errorf("%s: got %q and %v, want %s", name, got, err, want)
		}
	}
	if _, err := kindOf(t.Context(), client, "shop", "tilll"); err == nil || !strings.Contains(err.Error(), "neither a pod nor a ServiceAccount tilll") {
		t.Errorf("got %v", err)
	}
}

func TestDoctor_fixFlags(t *testing.T) {
	root := newRootCommand(genericiooptions.NewTestIOStreamsDiscard())
	command, _, err := root.Find([]string{"doctor"})
	if err != nil {
		t.Fatal(err)
	}
	d := &doctorOptions{}
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		d.examine.Commands = d.fixFlags(cmd.Flags())
		return nil
	}
	root.SetArgs([]string{
		"doctor", "--context", "prod", "--kubeconfig=/a b/config", "--as-group=a", "--as-group=b",
		"--token=secret", "--profile", "production", "-n", "shop", "--no-aws",
	})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	for command, test := range map[string]struct {
		got  []string
		want string
	}{
		"kubectl":      {d.examine.Commands.Kubectl, "--as-group=a --as-group=b --context=prod --kubeconfig=/a b/config"},
		"kubectl irsa": {d.examine.Commands.Plugin, "--as-group=a --as-group=b --context=prod --kubeconfig=/a b/config --profile=production"},
		"helm":         {d.examine.Commands.Helm, "--kube-context=prod --kubeconfig=/a b/config"},
		"aws":          {d.examine.Commands.AWS, "--profile=production"},
	} {
		if got := strings.Join(test.got, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", command, got, test.want)
		}
	}
}
