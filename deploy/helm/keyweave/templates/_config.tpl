{{/*
config.json of the node: what follows from the cluster, and the sections of
values.config beside it. It travels in an annotation of the pods, so that a
ReplicaSet keeps the configuration that its pods were made with: one that turns
out to be bad never reaches a pod that runs, not even when it is made anew.
*/}}
{{- define "keyweave.config" -}}
{{- $root := . -}}
{{- $name := include "keyweave.fullname" . -}}
{{- $bind := .Values.pods.bindAddress -}}
{{- $services := dict -}}
{{- range $service, $port := include "keyweave.services" . | fromYaml -}}
{{- $address := dict "host" (printf "%s-%s" $name $service) "port" (int $port) -}}
{{- $_ := set $services $service (dict "address" $address "listen_host" $bind) -}}
{{- end -}}
{{- $certificates := dict
  "certificate_ip" (printf "%s-peers.%s.svc" $name .Release.Namespace)
  "network" .Values.node.network
  "cert_authority_path" "/run/keyweave/ca.crt"
  "cert_path" "/run/keyweave/peer-broker.crt"
  "key_path" "/run/keyweave/peer-broker.key" -}}
{{- if .Values.certificates.crl.configMap -}}
{{- $_ := set $certificates "crl_path" "/run/keyweave/ca.crl" -}}
{{- end -}}
{{- $config := dict
  "uuid" .Values.node.uuid
  "certificate_config" $certificates
  "hybridization_server_address" (dict "host" $bind "port" 65430)
  "qkd_address" (include "keyweave.keyManager" . | fromYaml)
  "peer_local_address" (dict "host" $bind "port" 3001)
  "services" $services
  "health" (dict "host" $bind "port" (include "keyweave.healthPort" . | int)) -}}
{{- range $section, $values := .Values.config -}}
{{- if $values -}}{{- $_ := set $config $section (deepCopy $values) -}}{{- end -}}
{{- end -}}
{{- with .Values.keyManager.tls -}}
{{- if .secret -}}
{{- $tls := dict "ca_path" "/run/keyweave/key-manager-ca.crt" "cert_path" "/run/keyweave/key-manager.crt" "key_path" "/run/keyweave/key-manager.key" -}}
{{- if .serverName -}}{{- $_ := set $tls "server_name" .serverName -}}{{- end -}}
{{- $_ := set $config "qkd" (set (default dict $config.qkd) "tls" $tls) -}}
{{- end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* Where the key manager is: the simulator's first, or the one that is named. */}}
{{- define "keyweave.keyManager" -}}
{{- if and .Values.kmeSimulator.enabled .Values.keyManager.host -}}
{{- fail "keyManager.host and kmeSimulator.enabled exclude each other: which of them gives the node its keys?" -}}
{{- else if .Values.kmeSimulator.enabled -}}
host: {{ include "keyweave.fullname" . }}-kme-simulator
port: 54000
{{- else -}}
host: {{ required "keyManager.host is needed: the key manager that gives the node its QKD keys (for a trial without one: kmeSimulator.enabled)" .Values.keyManager.host }}
port: {{ .Values.keyManager.port }}
{{- end -}}
{{- end -}}

{{/* A duration of config.json in whole seconds, rounded up. */}}
{{- define "keyweave.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}{{ div (add $number 999) 1000 }}
{{- else -}}{{ mul $number (index (dict "s" 1 "m" 60 "h" 3600) $unit) }}
{{- end -}}
{{- end -}}
