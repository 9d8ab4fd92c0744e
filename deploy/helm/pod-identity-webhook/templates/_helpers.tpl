{{/* The name of all objects. */}}
{{- define "webhook.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects our pods. It never changes: a Deployment's selector cannot. */}}
{{- define "webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ toYaml .Chart.Name }}
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end -}}

{{/* The labels of all objects. */}}
{{- define "webhook.labels" -}}
{{- $labels := merge (include "webhook.selectorLabels" . | fromYaml)
  (dict
    "app.kubernetes.io/version" .Chart.AppVersion
    "app.kubernetes.io/managed-by" .Release.Service
    "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_")))
  .Values.commonLabels -}}
{{- toYaml $labels -}}
{{- end -}}

{{/*
The metadata of an object. Takes a dict:
  root         the chart's root
  name         the object's name; the fullname if absent
  labels       labels of this object only
  annotations  annotations of this object only
  cluster      true for an object that is in no namespace
*/}}
{{- define "webhook.metadata" -}}
{{- $root := .root -}}
name: {{ .name | default (include "webhook.fullname" $root) | toYaml }}
{{- if not .cluster }}
namespace: {{ toYaml $root.Release.Namespace }}
{{- end }}
labels:
  {{- merge (deepCopy (.labels | default dict)) (include "webhook.labels" $root | fromYaml) | toYaml | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The Secret of the serving certificate. */}}
{{- define "webhook.secretName" -}}
{{- if .Values.certificates.secretName -}}
{{- .Values.certificates.secretName -}}
{{- else if eq .Values.certificates.source "cert-manager" -}}
{{- include "webhook.fullname" . }}-tls
{{- else -}}
{{- include "webhook.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* The failurePolicy of the mutating webhook. */}}
{{- define "webhook.failurePolicy" -}}
{{- .Values.failurePolicy | default (ternary "Fail" "Ignore" (eq .Values.mode "opt-in")) -}}
{{- end -}}

{{/*
Which namespaces the webhooks are called for. The webhook must not depend on
itself, nor kube-system on anything.
*/}}
{{- define "webhook.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- concat (list .Release.Namespace "kube-system") .Values.excludedNamespaces | uniq | toYaml | nindent 6 }}
  {{- if eq .Values.mode "opt-in" }}
  - key: eks.amazonaws.com/pod-identity-webhook
    operator: In
    values: [enabled]
  {{- end }}
{{- end -}}

{{/* How the API server calls us. Takes a dict: root, path. */}}
{{- define "webhook.clientConfig" -}}
{{- $certificates := .root.Values.certificates -}}
service:
  name: {{ include "webhook.fullname" .root | toYaml }}
  namespace: {{ toYaml .root.Release.Namespace }}
  port: {{ .root.Values.service.port }}
  path: {{ .path }}
{{- if and (eq $certificates.source "secret") $certificates.caBundle }}
caBundle: {{ $certificates.caBundle | b64enc }}
{{- end }}
{{- end -}}

{{/*
The annotations of a webhook configuration. With certificates of our own the
webhook keeps the caBundle; the chart never writes it.
*/}}
{{- define "webhook.configurationAnnotations" -}}
{{- $annotations := deepCopy .Values.webhookAnnotations -}}
{{- if eq .Values.certificates.source "cert-manager" -}}
{{- $annotations = merge $annotations (dict "cert-manager.io/inject-ca-from" (printf "%s/%s" .Release.Namespace (include "webhook.fullname" .))) -}}
{{- end -}}
{{- toYaml $annotations -}}
{{- end -}}
