{{/* What every container of ours may not do. */}}
{{- define "keyweave.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "keyweave.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* The image's NODE_OPTIONS without worker threads and addons, which only the pqc-source needs. */}}
{{- define "keyweave.narrow" -}}
- name: NODE_OPTIONS
  value: >-
    --permission --allow-net --allow-fs-read=/app --allow-fs-read=/etc/keyweave
    --allow-fs-read=/run/keyweave --allow-fs-write=/app/.cache --disable-proto=delete
    --disable-sigusr1 --disallow-code-generation-from-strings
    --disable-warning=ExperimentalWarning --disable-warning=SecurityWarning
    --max-semi-space-size=4
{{- end -}}

{{/* What all pods have in common. */}}
{{- define "keyweave.podBase" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ include "keyweave.fullname" . }}
securityContext:
  {{- include "keyweave.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pods.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* config.json as the pod was made with it, and the peers as they are. */}}
{{- define "keyweave.configVolume" -}}
name: config
projected:
  defaultMode: 0440
  sources:
    - downwardAPI:
        items:
          - path: config.json
            fieldRef: { fieldPath: "metadata.annotations['keyweave.example/config']" }
    - secret:
        name: {{ include "keyweave.peersSecret" . }}
        items:
          - { key: trusted_peers_info.json, path: trusted_peers_info.json }
{{- end -}}

{{/* A service sees its own key only. */}}
{{- define "keyweave.certificateVolume" -}}
{{- $certificates := .root.Values.certificates -}}
name: certificates
projected:
  defaultMode: 0440
  sources:
    - secret:
        name: {{ include "keyweave.certificateSecret" . }}
        items:
          - { key: tls.crt, path: {{ .service }}.crt }
          - { key: tls.key, path: {{ .service }}.key }
          {{- if not $certificates.ca.configMap }}
          - { key: ca.crt, path: ca.crt }
          {{- end }}
    {{- with $certificates.ca }}
    {{- if .configMap }}
    - configMap:
        name: {{ .configMap }}
        items:
          - { key: {{ .key }}, path: ca.crt }
    {{- end }}
    {{- end }}
    {{- with $certificates.crl }}
    {{- if .configMap }}
    - configMap:
        name: {{ .configMap }}
        items:
          - { key: {{ .key }}, path: ca.crl }
    {{- end }}
    {{- end }}
    {{- if and (eq .service "qkd-source") .root.Values.keyManager.tls.secret }}
    - secret:
        name: {{ .root.Values.keyManager.tls.secret }}
        items:
          - { key: ca.crt, path: key-manager-ca.crt }
          - { key: tls.crt, path: key-manager.crt }
          - { key: tls.key, path: key-manager.key }
    {{- end }}
{{- end -}}
