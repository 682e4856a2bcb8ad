{{- define "triton-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* At most 52 characters: names of Jobs are this and a suffix, and have to be labels. */}}
{{- define "triton-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "triton-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "triton-operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "triton-operator.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "triton-operator.labels" -}}
{{- $ours := include "triton-operator.releaseLabels" . | fromYaml }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "triton-operator" }}
{{- /* Each template adds what component it is. */}}
{{- toYaml (merge $ours (omit (default dict .Values.commonLabels) "app.kubernetes.io/component")) }}
{{- end }}

{{/* On all pods of a release, and on nothing else that runs. */}}
{{- define "triton-operator.releaseLabels" -}}
app.kubernetes.io/name: {{ include "triton-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Which pods are the operator: not that of the Job that waits for their end. */}}
{{- define "triton-operator.selector" -}}
{{ include "triton-operator.releaseLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "triton-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "triton-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Who may connect to the pods of servers, as the operator reads it. */}}
{{- define "triton-operator.serverAccess" -}}
clients: {{ toJson .Values.servers.networkPolicy.clients }}
scrapers: {{ toJson .Values.servers.networkPolicy.scrapers }}
operator:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ .Release.Namespace }}
    podSelector:
      matchLabels:
        {{- include "triton-operator.selector" . | nindent 8 }}
{{- end }}

{{/* What every pod of the operator has: identity, placement, hardening. */}}
{{- define "triton-operator.podSpec" -}}
serviceAccountName: {{ include "triton-operator.serviceAccountName" . }}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What every container of the operator has: image, settings, hardening. */}}
{{- define "triton-operator.container" -}}
image: {{ include "triton-operator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: TRITON_OPERATOR_SERVER_IMAGE
    value: {{ .Values.serverImage | quote }}
  - name: TRITON_OPERATOR_SYNC_IMAGE
    value: {{ default (include "triton-operator.image" .) .Values.syncImage | quote }}
  - name: TRITON_OPERATOR_SYNC_IMAGE_PULL_POLICY
    value: {{ .Values.image.pullPolicy }}
  - name: TRITON_OPERATOR_SYNC_MEMORY_LIMIT
    value: {{ .Values.syncMemoryLimit | quote }}
  - name: TRITON_OPERATOR_RESYNC_SECONDS
    value: {{ .Values.resyncSeconds | quote }}
  - name: TRITON_OPERATOR_LEASE_NAMESPACE
    value: {{ .Release.Namespace }}
  - name: TRITON_OPERATOR_LEASE_NAME
    value: {{ include "triton-operator.fullname" . }}
  - name: TRITON_OPERATOR_LEASE_SECONDS
    value: {{ .Values.leaderElection.leaseDurationSeconds | int64 | quote }}
  - name: TRITON_OPERATOR_IDENTITY
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: TRITON_OPERATOR_LOG_FORMAT
    value: {{ .Values.logFormat }}
  {{- with .Values.autoscaling }}
  - name: TRITON_OPERATOR_AUTOSCALING_INTERVAL_SECONDS
    value: {{ .intervalSeconds | quote }}
  - name: TRITON_OPERATOR_SCRAPE_DEADLINE_SECONDS
    value: {{ .scrapeDeadlineSeconds | quote }}
  - name: TRITON_OPERATOR_MAX_GPUS
    value: {{ .maxGPUs | int64 | quote }}
  {{- with .namespaceMaxGPUs }}
  - name: TRITON_OPERATOR_NAMESPACE_MAX_GPUS
    value: {{ toJson . | quote }}
  {{- end }}
  {{- end }}
  {{- with .Values.watchNamespaces }}
  - name: TRITON_OPERATOR_NAMESPACES
    value: {{ join "," . | quote }}
  {{- end }}
  - name: TRITON_OPERATOR_LOG_LEVEL
    value: {{ .Values.logLevel }}
  {{- with .Values.servers.imagePullSecrets }}
  - name: TRITON_OPERATOR_IMAGE_PULL_SECRETS
    value: {{ range $index, $secret := . }}{{ if $index }},{{ end }}{{ $secret.name }}{{ end }}
  {{- end }}
  {{- with .Values.security.allowedBackends }}
  - name: TRITON_OPERATOR_ALLOWED_BACKENDS
    value: {{ join "," . | quote }}
  {{- end }}
  {{- if .Values.servers.networkPolicy.enabled }}
  - name: TRITON_OPERATOR_SERVER_ACCESS
    value: {{ include "triton-operator.serverAccess" . | fromYaml | toJson | quote }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
