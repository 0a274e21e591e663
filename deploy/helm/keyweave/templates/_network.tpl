{{- define "keyweave.dnsEgress" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
{{- end -}}

{{/* Where the qkd-source may go: the own simulator, what is listed, or the address where the host is one. */}}
{{- define "keyweave.keyManagerPeers" -}}
{{- $host := (include "keyweave.keyManager" . | fromYaml).host -}}
{{- if .Values.kmeSimulator.enabled -}}
- podSelector:
    matchLabels:
      {{- include "keyweave.selectorLabels" (dict "root" . "component" "kme-simulator") | nindent 6 }}
{{- else if .Values.networkPolicy.keyManager -}}
{{- toYaml .Values.networkPolicy.keyManager -}}
{{- else if regexMatch "^[0-9]+(\\.[0-9]+){3}$" $host -}}
- ipBlock: { cidr: {{ $host }}/32 }
{{- else if contains ":" $host -}}
- ipBlock: { cidr: {{ $host }}/128 }
{{- else -}}
{{- fail (printf "networkPolicy.keyManager is needed: a policy cannot name %s; give its addresses (ipBlock) or its pods" $host) -}}
{{- end -}}
{{- end -}}

{{/* Ports at which other nodes' brokers are: that of their pods, and those that the peers are dialled at. */}}
{{- define "keyweave.peerPorts" -}}
{{- $ports := list 3001 -}}
{{- range $uuid, $peer := .Values.peers -}}
{{- if ne (lower $uuid) (lower $.Values.node.uuid) -}}
{{- $ports = append $ports (int $peer.address.port) -}}
{{- end -}}
{{- end -}}
{{- range .Values.networkPolicy.peerPorts -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- toYaml ($ports | uniq | sortAlpha) | replace "\"" "" -}}
{{- end -}}

{{/* The port of the OpenTelemetry collector: that of its URL, or the one of the URL's scheme. */}}
{{- define "keyweave.collectorPort" -}}
{{- $endpoint := (((.Values.config).telemetry).otlp).endpoint | required "networkPolicy.collector is of no use without config.telemetry.otlp.endpoint" -}}
{{- $url := urlParse $endpoint -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (eq $url.scheme "https" | ternary "443" "80") -}}
{{- end -}}
