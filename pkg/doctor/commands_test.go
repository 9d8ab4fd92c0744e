package doctor

import "testing"

func TestCommands_contextFlags(t *testing.T) {
	withFlags := Commands{
		Kubectl: []string{"--context=prod eu"}, Plugin: []string{"--context=prod eu", "--profile=p"},
		Helm: []string{"--kube-context=prod eu"}, AWS: []string{"--profile=p"},
	}
	for _, test := range []struct{ fix, plain, flagged string }{
		{kubectl + " get pod a | " + kubectl + " replace -f -", "kubectl get pod a | kubectl replace -f -", "kubectl '--context=prod eu' get pod a | kubectl '--context=prod eu' replace -f -"},
		{irsaPlugin + " provider create", "kubectl irsa provider create", "kubectl irsa '--context=prod eu' --profile=p provider create"},
		{helm + " upgrade", "helm upgrade", "helm '--kube-context=prod eu' upgrade"},
		{awsCLI + " iam", "aws iam", "aws --profile=p iam"},
		{"kubectl annotate " + shell("a="+kubectl+"' kubectl b"), `kubectl annotate 'a='\'' kubectl b'`, `kubectl annotate 'a='\'' kubectl b'`},
		{"", "", ""},
	} {
		if got := (Commands{}).write(test.fix); got != test.plain {
			t.Errorf("got %s, want %s", got, test.plain)
		}
		if got := withFlags.write(test.fix); got != test.flagged {
			t.Errorf("got %s, want %s", got, test.flagged)
		}
	}
}
