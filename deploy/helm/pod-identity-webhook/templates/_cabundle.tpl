{{/*
The caBundle of the existing webhook configuration, in base64, or else the CA of the
Secret. The API server calls a configuration that an upgrade creates immediately, and
replicas of the previous release may serve these requests. It is empty without a
cluster. Takes a dict: root, path.
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
