{{/* The pod that migrates. */}}
{{- define "coursegen.migratePod" -}}
{{- $values := .Values.migrations }}
metadata:
  labels:
    {{- include "coursegen.labels" (list . "migrate") | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/secret: {{ include "coursegen.inlineSecrets" . | sha256sum }}
    {{- with $values.rerun }}
    coursegen/rerun: {{ . | quote }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "coursegen.podFields" (list . "migrate" $values "migrate" false) | nindent 2 }}
  {{- /* A try that failed leaves its pod, and so its log: with OnFailure the Job would delete both at its last try. */}}
  restartPolicy: Never
  containers:
    - name: migrate
      image: {{ include "coursegen.image" (list . "migrate" $values.image) }}
      imagePullPolicy: {{ default .Values.image.pullPolicy $values.image.pullPolicy }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        {{- /* Images are pulled and volumes made for a new PostgreSQL: waiting for it uses up no try. */}}
        {{- range $name, $value := mergeOverwrite (dict "MIGRATE_CONNECT_SECONDS" 600) .Values.config.migrate }}
        - {name: {{ $name }}, value: {{ include "coursegen.text" $value | quote }}}
        {{- end }}
        {{- include "coursegen.secretVariable" (list . "DATABASE_URL" .Values.database.migrations "owner-database-url" "owner-database-url") | trim | nindent 8 }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
