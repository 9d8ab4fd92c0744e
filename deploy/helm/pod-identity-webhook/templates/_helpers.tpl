{{/* The name of all objects. */}}
{{- define "webhook.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of objects outside of namespaces. With the prefix it differs from objects of
platforms, such as the MutatingWebhookConfiguration pod-identity-webhook of EKS, for any
name of the release. API servers call webhooks in the order of these names, so this
webhook comes before that of EKS.
*/}}
{{- define "webhook.clusterName" -}}
irsa-{{ include "webhook.fullname" . }}
{{- end -}}

{{/* The name of the guard's policy and binding. */}}
{{- define "webhook.guardName" -}}
{{ include "webhook.clusterName" . }}-guard
{{- end -}}

{{/* The selector of the pods. It must not change, because that of a Deployment cannot. */}}
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
  root         the root of the chart
  name         the object's name; if absent the fullname, or with cluster the clusterName
  labels       labels of this object only
  annotations  annotations of this object only
  cluster      true for an object outside of namespaces
*/}}
{{- define "webhook.metadata" -}}
{{- $root := .root -}}
name: {{ .name | default (include (ternary "webhook.clusterName" "webhook.fullname" (default false .cluster)) $root) | toYaml }}
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
A namespaceSelector. Takes a dict:
  root    the chart's root
  only    the only namespace; absent for all
  except  namespaces to exclude in addition to excludedNamespaces and the namespace of
          the release, which must be able to start before the webhook runs
*/}}
{{- define "webhook.namespaceSelector" -}}
matchExpressions:
  {{- with .only }}
  - key: kubernetes.io/metadata.name
    operator: In
    values: [{{ . }}]
  {{- else }}
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- concat (list .root.Release.Namespace) (.except | default list) .root.Values.excludedNamespaces | uniq | toYaml | nindent 6 }}
  {{- end }}
  {{- if eq .root.Values.mode "opt-in" }}
  - key: eks.amazonaws.com/pod-identity-webhook
    operator: In
    values: [enabled]
  {{- end }}
{{- end -}}

{{/*
Not empty if the webhook handles kube-system. Its pods may have to start before the
webhook, so it has separate entries with failurePolicy Ignore.
*/}}
{{- define "webhook.servesKubeSystem" -}}
{{- if not (has "kube-system" (append .Values.excludedNamespaces .Release.Namespace)) }}yes{{ end -}}
{{- end -}}

{{/* The clientConfig of a webhook. Takes a dict: root, path. */}}
{{- define "webhook.clientConfig" -}}
{{- $certificates := .root.Values.certificates -}}
service:
  name: {{ include "webhook.fullname" .root | toYaml }}
  namespace: {{ toYaml .root.Release.Namespace }}
  port: {{ .root.Values.service.port }}
  path: {{ .path }}
{{- if and (eq $certificates.source "secret") $certificates.caBundle }}
caBundle: {{ $certificates.caBundle | b64enc }}
{{- else if eq $certificates.source "self" }}
{{- with include "webhook.knownCABundle" . }}
caBundle: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The annotations of a webhook configuration. */}}
{{- define "webhook.configurationAnnotations" -}}
{{- $annotations := deepCopy .Values.webhookAnnotations -}}
{{- if eq .Values.certificates.source "cert-manager" -}}
{{- $annotations = merge $annotations (dict "cert-manager.io/inject-ca-from" (printf "%s/%s" .Release.Namespace (include "webhook.fullname" .))) -}}
{{- end -}}
{{- toYaml $annotations -}}
{{- end -}}
