{{/*
The caBundle of the webhook configuration in the cluster, in base64, or the CA of
the Secret if there is none yet: a configuration that an upgrade creates is called
from that moment on, and the replicas that serve it may be those of the release
before. It is empty without a cluster. Takes a dict: root, path.
*/}}
{{- define "webhook.knownCABundle" -}}
{{- $bundle := "" -}}
{{- $kind := ternary "MutatingWebhookConfiguration" "ValidatingWebhookConfiguration" (eq .path "/mutate") -}}
{{- range (lookup "admissionregistration.k8s.io/v1" $kind "" (include "webhook.clusterName" .root)).webhooks -}}
{{- $bundle = $bundle | default .clientConfig.caBundle -}}
{{- end -}}
{{- with (lookup "v1" "Secret" .root.Release.Namespace (include "webhook.secretName" .root)).data -}}
{{- $bundle = $bundle | default (index . "ca.crt") -}}
{{- end -}}
{{- $bundle | default "" -}}
{{- end -}}
