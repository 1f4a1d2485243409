{{/* Rules of a NetworkPolicy for the ways that a component may go; (list ROOT WAYS) */}}
{{- define "coursegen.egress" -}}
{{- $root := index . 0 -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- $egress := list -}}
{{- range $way := index . 1 -}}
{{- $rule := dict -}}
{{- if eq $way "dns" -}}
{{- $rule = dict "to" $policy.dns.to "ports" (list (dict "port" 53 "protocol" "UDP") (dict "port" 53 "protocol" "TCP")) -}}
{{- else if eq $way "api" -}}
{{- $rule = dict "to" (list (dict "podSelector" (dict "matchLabels" (fromYaml (include "coursegen.selector" (list $root "api")))))) "ports" (list (dict "port" "http" "protocol" "TCP")) -}}
{{- else -}}
{{- $target := index $policy $way -}}
{{- $ports := list -}}
{{- range default (list $target.port) $target.ports }}{{ $ports = append $ports (dict "port" (int .) "protocol" "TCP") }}{{ end -}}
{{- $rule = dict "ports" $ports -}}
{{- $to := $target.to -}}
{{- if and $root.Values.dev.enabled (has $way (list "database" "redis")) -}}
{{- $to = list (dict "podSelector" (dict "matchLabels" (fromYaml (include "coursegen.selector" (list $root (ternary "postgresql" "redis" (eq $way "database"))))))) -}}
{{- end -}}
{{- with $to }}{{ $_ := set $rule "to" . }}{{ end -}}
{{- end -}}
{{- $egress = append $egress $rule -}}
{{- end -}}
{{- toYaml $egress -}}
{{- end }}
