{{/* Where secrets come from: a Secret of yours, a value for development, or what dev.enabled has made; in this order. */}}

{{- define "coursegen.secretName" -}}{{ include "coursegen.fullname" . }}-values{{- end }}
{{- define "coursegen.devSecretName" -}}{{ include "coursegen.fullname" . }}-dev{{- end }}

{{/* Name and key of a Secret, or nothing; (list ROOT REFERENCE INLINE-KEY DEV-KEY) */}}
{{- define "coursegen.secretReference" -}}
{{- $root := index . 0 -}}
{{- $reference := index . 1 -}}
{{- $name := "" -}}
{{- $key := "" -}}
{{- if $reference.existingSecret -}}
{{- $name = $reference.existingSecret -}}{{- $key = $reference.key -}}
{{- else if coalesce $reference.url $reference.value -}}
{{- $name = include "coursegen.secretName" $root -}}{{- $key = index . 2 -}}
{{- else if and $root.Values.dev.enabled (index . 3) -}}
{{- $name = include "coursegen.devSecretName" $root -}}{{- $key = index . 3 -}}
{{- end -}}
{{- if $name -}}{name: {{ $name }}, key: {{ $key }}}{{- end -}}
{{- end }}

{{/* One variable, or nothing; (list ROOT VARIABLE REFERENCE INLINE-KEY DEV-KEY) */}}
{{- define "coursegen.secretVariable" -}}
{{- with include "coursegen.secretReference" (list (index . 0) (index . 2) (index . 3) (index . 4)) }}
- name: {{ index $ 1 }}
  valueFrom:
    secretKeyRef: {{ . }}
{{- end }}
{{- end }}

{{- define "coursegen.databaseVariable" -}}
{{- include "coursegen.secretVariable" (list . "DATABASE_URL" .Values.database "database-url" "database-url") -}}
{{- end }}
{{- define "coursegen.redisVariable" -}}
{{- include "coursegen.secretVariable" (list . "REDIS_URL" .Values.redis "redis-url" "redis-url") -}}
{{- end }}
{{- define "coursegen.streamVariable" -}}
{{- include "coursegen.secretVariable" (list . "REDIS_PASSWORD" (.Values.redis.streamPassword | default dict) "stream-password" "") -}}
{{- end }}
{{- define "coursegen.jwtVariable" -}}
{{- include "coursegen.secretVariable" (list . "JWT_SECRET" .Values.auth.jwtSecret "jwt-secret" "jwt-secret") -}}
{{- end }}
{{/* The secret before the present one, where there is one: what is optional here may be put into the Secret at any time. */}}
{{- define "coursegen.previousJwtVariable" -}}
{{- $reference := .Values.auth.jwtSecret -}}
{{- $name := $reference.existingSecret -}}
{{- $key := $reference.previousKey -}}
{{- if and (not $name) (not $reference.value) .Values.dev.enabled -}}
{{- $name = include "coursegen.devSecretName" . -}}{{- $key = "jwt-secret-previous" -}}
{{- end -}}
{{- if and $name $key }}
- name: JWT_SECRET_PREVIOUS
  valueFrom:
    secretKeyRef: {name: {{ $name }}, key: {{ $key }}, optional: true}
{{- end }}
{{- end }}
{{- define "coursegen.storeVariables" -}}
{{- include "coursegen.secretVariable" (list . "WEBHOOK_ENCRYPTION_KEYS" .Values.webhooks.encryptionKeys "webhook-keys" "webhook-keys") -}}
{{- include "coursegen.secretVariable" (list . "OBJECT_STORE_ACCESS_KEY_ID" .Values.objectStore.accessKeyId "object-store-access-key-id" "") -}}
{{- include "coursegen.secretVariable" (list . "OBJECT_STORE_SECRET_ACCESS_KEY" .Values.objectStore.secretAccessKey "object-store-secret-access-key" "") -}}
{{- end }}

{{/* Values for development, as YAML: what the release's own Secret holds. */}}
{{- define "coursegen.inlineSecrets" -}}
{{- $secrets := dict -}}
{{- range $key, $reference := dict
    "database-url" .Values.database "owner-database-url" .Values.database.migrations "redis-url" .Values.redis
    "stream-password" (.Values.redis.streamPassword | default dict)
    "jwt-secret" .Values.auth.jwtSecret "webhook-keys" .Values.webhooks.encryptionKeys "openai-api-key" .Values.engine.openaiApiKey
    "object-store-access-key-id" .Values.objectStore.accessKeyId "object-store-secret-access-key" .Values.objectStore.secretAccessKey -}}
{{- $inline := coalesce $reference.url $reference.value -}}
{{- if and $inline (not $reference.existingSecret) -}}{{- $_ := set $secrets $key $inline -}}{{- end -}}
{{- end -}}
{{- if $secrets -}}{{- toYaml $secrets -}}{{- end -}}
{{- end }}
