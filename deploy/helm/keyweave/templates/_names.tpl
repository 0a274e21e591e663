{{- define "keyweave.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Leaves room for the longest suffix, "-kme-simulator", in the 63 characters of a Service's name. */}}
{{- define "keyweave.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains (include "keyweave.name" .) .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "keyweave.name" .) | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The services of a node, named as the architecture names them, with their internal ports. */}}
{{- define "keyweave.services" -}}
gateway: 50051
qkd-source: 50052
pqc-source: 50053
hybridizer: 50054
peer-broker: 50055
{{- end -}}

{{- define "keyweave.healthPort" -}}9465{{- end -}}

{{- define "keyweave.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keyweave.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* For objects of a component, or of the whole node where none is named. */}}
{{- define "keyweave.labels" -}}
{{ include "keyweave.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: keyweave
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "keyweave.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "keyweave.peersSecret" -}}
{{- default (printf "%s-trusted-peers" (include "keyweave.fullname" .)) .Values.existingPeersSecret -}}
{{- end -}}

{{/* The Secret with the certificate of one service. */}}
{{- define "keyweave.certificateSecret" -}}
{{- default (printf "%s-%s-tls" (include "keyweave.fullname" .root) .service) (index .root.Values.certificates.secrets .service) -}}
{{- end -}}
