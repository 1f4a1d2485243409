{{/* What the operator may do. No wildcard, and no Secret: Jobs mount what they need by its name. */}}
{{- define "coursegen-operator.rules" -}}
- {apiGroups: [ops.coursegen.dev], resources: [databasemigrations, retentionpolicies, alertpolicies], verbs: [get, list, watch]}
- {apiGroups: [ops.coursegen.dev], resources: [databasemigrations/status, retentionpolicies/status, alertpolicies/status], verbs: [patch]}
# Asked for by API servers that check who may block the deletion of an owner (OwnerReferencesPermissionEnforcement).
- {apiGroups: [ops.coursegen.dev], resources: [databasemigrations/finalizers, retentionpolicies/finalizers, alertpolicies/finalizers], verbs: [update]}
# A Job is made once and never changed; a CronJob goes with its policy.
- {apiGroups: [batch], resources: [jobs], verbs: [get, list, watch, create, delete]}
- {apiGroups: [batch], resources: [cronjobs], verbs: [get, list, watch, create, patch]}
- {apiGroups: [monitoring.coreos.com], resources: [prometheusrules], verbs: [get, list, watch, create, patch, delete]}
# Which Prometheus selects a rule.
- {apiGroups: [monitoring.coreos.com], resources: [prometheuses, thanosrulers], verbs: [get, list]}
# What a Job's pod reported, or why it could not start; whether a rollout is finished.
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, list]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [list, create, patch]}
# Labels of the namespace, by which a Prometheus selects the rules in it.
- {apiGroups: [""], resources: [namespaces], verbs: [get]}
{{- end }}
