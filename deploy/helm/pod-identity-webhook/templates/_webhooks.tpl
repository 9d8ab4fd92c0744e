{{/*
An entry of the MutatingWebhookConfiguration. Takes a dict: root, name, operation,
resource, failurePolicy, and only and except of webhook.namespaceSelector.
*/}}
{{- define "webhook.podWebhook" -}}
- name: {{ .name }}.pod-identity-webhook.internal
  clientConfig:
    {{- include "webhook.clientConfig" (dict "root" .root "path" "/mutate") | nindent 4 }}
  rules:
    - operations: [{{ .operation }}]
      apiGroups: [""]
      apiVersions: [v1]
      resources: [{{ .resource }}]
      scope: Namespaced
  failurePolicy: {{ .failurePolicy }}
  timeoutSeconds: {{ .root.Values.timeoutSeconds }}
  sideEffects: None
  admissionReviewVersions: [v1]
  # Call again for containers that another webhook adds later.
  reinvocationPolicy: IfNeeded
  namespaceSelector:
    {{- include "webhook.namespaceSelector" . | nindent 4 }}
  objectSelector:
    matchExpressions:
      - key: eks.amazonaws.com/skip-pod-identity-webhook
        operator: DoesNotExist
  matchConditions:
    # Mirror pods of static pods cannot have a ServiceAccount.
    - name: no-mirror-pods
      expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
    {{- with .root.Values.extraMatchConditions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/*
An entry of the ValidatingWebhookConfiguration. Takes a dict: root, name,
failurePolicy, except of webhook.namespaceSelector, and a further condition.
*/}}
{{- define "webhook.serviceAccountWebhook" -}}
- name: {{ .name }}.pod-identity-webhook.internal
  clientConfig:
    {{- include "webhook.clientConfig" (dict "root" .root "path" "/validate-serviceaccount") | nindent 4 }}
  rules:
    - operations: [CREATE, UPDATE]
      apiGroups: [""]
      apiVersions: [v1]
      resources: [serviceaccounts]
      scope: Namespaced
  failurePolicy: {{ .failurePolicy }}
  timeoutSeconds: {{ min 5 (int .root.Values.timeoutSeconds) }}
  sideEffects: None
  admissionReviewVersions: [v1]
  namespaceSelector:
    {{- include "webhook.namespaceSelector" . | nindent 4 }}
  # Only annotations are validated.
  matchConditions:
    - name: has-annotations
      expression: "has(object.metadata.annotations)"
    {{- with .condition }}
    - {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}
