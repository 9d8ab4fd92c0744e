package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision/fakeiam"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// bench is an in-memory cluster and a fake IAM for commands.
type bench struct {
	iam                  *fakeiam.IAM
	client               *fake.Clientset
	checkIssuerReachable error
}

func newBench(objects ...runtime.Object) *bench {
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	return &bench{client: fake.NewClientset(objects...)}
}

// account returns the fake IAM, and starts it at the first call.
func (b *bench) account(t *testing.T) *fakeiam.IAM {
	t.Helper()
	if b.iam == nil {
		b.iam = fakeiam.New(t, "arn:aws:iam::111122223333:policy/bound")
	}
	return b.iam
}

// run runs a command line and returns it with its output and exit code, as in a terminal.
func (b *bench) run(t *testing.T, line string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr}
	connect := func(_ context.Context, p *provisionOptions) (*provision.Cluster, error) {
		if p.issuer == "" {
			p.issuer = "https://oidc.example.com/prod"
		}
		return p.newCluster(provision.Cluster{
			Account: provision.Account{Partition: "aws", ID: "111122223333"}, IAM: b.account(t).Client(), Client: b.client,
			Reach: func(context.Context, string) error { return b.checkIssuerReachable },
		})
	}
	root := rootCommand(&options{IOStreams: streams, cluster: genericclioptions.NewConfigFlags(true), connect: connect})
	code := execute(t.Context(), root, strings.Fields(line), streams)
	return fmt.Sprintf("$ kubectl irsa %s\n%s%s[exit code %d]\n", line, stdout.String(), stderr.String(), code)
}

// golden compares output with a golden file, or writes the file with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant (%s, -update writes it)\n%s", got, path, want)
	}
}

const (
	createCart = "serviceaccount create cart -n shop --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	theirs     = "arn:aws:iam::111122223333:role/theirs"
)

func cartWith(role string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "cart", Annotations: map[string]string{"eks.amazonaws.com/role-arn": role},
	}}
}

// denied returns a function that makes IAM deny the operations.
func denied(operations ...string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		t.Helper()
		b.account(t).Fail(func(operation string) error {
			if slices.Contains(operations, operation) {
				return fakeiam.Denied(operation)
			}
			return nil
		})
	}
}

func TestCommands_output(t *testing.T) {
	for name, test := range map[string]struct {
		objects []runtime.Object
		prepare func(*testing.T, *bench)
		lines   []string
	}{
		"provider create idempotent": {lines: []string{
			"provider create --tags team=platform",
			"provider create --tags team=platform --approve --dry-run",
			"provider create --tags team=platform --approve",
			"provider create --tags team=platform --approve",
		}},
		"provider create existing": {lines: []string{
			"provider create --audience theirs --approve",
			"provider create --audience sts.amazonaws.com --audience theirs --thumbprint 9e99a48a9960b14926bb7f3b02e22da2b0ab7280 --approve",
			"provider create",
		}},
		"provider create as json and yaml": {lines: []string{
			"provider create -o json", "provider create -o yaml --approve", "provider create -o json --approve",
		}},
		"provider create issuer warnings": {
			prepare: func(t *testing.T, b *bench) { b.checkIssuerReachable = errors.New("no such host") },
			lines:   []string{"provider create --issuer http://kubernetes.default.svc:6443/"},
		},
		"provider create invalid flags": {lines: []string{
			"provider create --issuer oidc.example.com", "provider create --thumbprint 9e:99", "provider create --tags kubectl-irsa/issuer=x",
			"provider create -o xml", "provider create now",
		}},
		"provider delete idempotent": {lines: []string{
			"provider create --approve", createCart + " --approve", "provider delete", "provider delete --approve", "provider delete --approve",
		}},
		"provider delete unmanaged": {
			prepare: func(t *testing.T, b *bench) {
				_, err := b.account(t).Client().CreateOpenIDConnectProvider(context.Background(), &iam.CreateOpenIDConnectProviderInput{
					Url: aws.String("https://oidc.example.com/prod"), ClientIDList: []string{"sts.amazonaws.com"},
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			lines: []string{"provider delete --approve", "provider show", "provider delete --force --approve"},
		},
		"provider show": {lines: []string{
			"provider show", "provider create --approve --tags team=platform", "provider show", "provider show -o json", "provider show --audience another",
		}},
		"provider show forbidden": {
			prepare: denied("GetOpenIDConnectProvider"), lines: []string{"provider show", "provider show -o json", "provider create"},
		},
		"serviceaccount create idempotent": {lines: []string{
			createCart, createCart + " --approve --dry-run", createCart + " --approve", createCart + " --approve",
		}},
		"serviceaccount create all flags": {lines: []string{
			"provider create --approve",
			createCart + " --role-name shop-cart --path /team/ --permissions-boundary arn:aws:iam::111122223333:policy/bound --tags team=shop,tier=1 --audience sts.example.com --approve",
			createCart + " --path /other/ --permissions-boundary arn:aws:iam::aws:policy/other --tags tier=2",
		}},
		"serviceaccount create as json and yaml": {lines: []string{
			"sa create cart -n shop -o json", "sa create cart -n shop -o yaml --approve",
		}},
		"serviceaccount create other role": {
			objects: []runtime.Object{cartWith(theirs)},
			lines:   []string{createCart, createCart + " --override-existing-serviceaccounts", createCart + " --role-only --approve"},
		},
		"serviceaccount create control characters": {
			objects: []runtime.Object{cartWith("\x1b[2Jtheirs")},
			lines:   []string{createCart, createCart + " --override-existing-serviceaccounts", "sa create cart -n shop --role-only --approve", "sa list"},
		},
		"serviceaccount create namespace missing": {lines: []string{"sa create cart -n shops", "sa create CART -n shop", "sa create"}},
		"serviceaccount create partial failure": {
			prepare: denied("AttachRolePolicy"), lines: []string{createCart + " --approve", createCart + " --approve -o json"},
		},
		"serviceaccount delete idempotent": {lines: []string{
			createCart + " --approve", "serviceaccount delete cart -n shop", "serviceaccount delete cart -n shop --approve",
			"serviceaccount delete cart -n shop --approve", "serviceaccount delete cart -n shop -o yaml",
		}},
		"serviceaccount delete unmanaged": {
			objects: []runtime.Object{cartWith("arn:aws:iam::111122223333:role/prod.shop.cart")},
			prepare: func(t *testing.T, b *bench) {
				_, err := b.account(t).Client().CreateRole(context.Background(), &iam.CreateRoleInput{
					RoleName: aws.String("prod.shop.cart"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}`),
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			lines: []string{"sa delete cart -n shop --approve", "sa delete cart -n shop --role-name prod.shop.cart --approve", createCart},
		},
		"serviceaccount list": {
			lines: []string{
				"sa list", "sa list -o json", createCart + " --approve", "sa create till -n shop --role-only --approve", "sa list", "sa list -n elsewhere", "sa list -o json",
			},
		},
		"serviceaccount list forbidden": {
			prepare: denied("ListRoles"), lines: []string{"sa list", "sa list -o yaml"},
		},
		"serviceaccount list serviceaccounts forbidden": {
			prepare: func(t *testing.T, b *bench) {
				b.client.PrependReactor("list", "serviceaccounts", func(kubetesting.Action) (bool, runtime.Object, error) {
					return true, nil, errors.New("serviceaccounts is forbidden")
				})
			},
			lines: []string{createCart + " --approve", "sa list", "sa list -o yaml"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(test.objects...)
			if test.prepare != nil {
				test.prepare(t, b)
			}
			var output strings.Builder
			for _, line := range test.lines {
				output.WriteString(b.run(t, line) + "\n")
			}
			golden(t, name, output.String())
		})
	}
}

func TestColorFlag(t *testing.T) {
	b := newBench()
	if got := b.run(t, "provider create"); strings.Contains(got, "\x1b[") {
		t.Errorf("got colors in %q, want none", got)
	}
	if got := b.run(t, "provider create --color always"); !strings.Contains(got, "\x1b[32m+") {
		t.Errorf("got %q, want a green +", got)
	}
}

func TestVersion(t *testing.T) {
	b := newBench()
	if got := b.run(t, "version"); !strings.Contains(got, "kubectl irsa devel (commit ") {
		t.Errorf("got %s", got)
	}
	if got := b.run(t, "version -o json"); !strings.Contains(got, `"goVersion": "go1.`) {
		t.Errorf("got %s", got)
	}
}
