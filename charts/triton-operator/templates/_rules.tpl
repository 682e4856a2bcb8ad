{{/*
What the operator may do in the namespaces it watches: each verb is one it uses. An object is made or changed by
server-side apply, which is `patch`, and `create` when it is new. What is read without `get` comes from a list and a watch.
*/}}
{{- define "triton-operator.rules" -}}
- apiGroups: [triton-operator.io]
  resources: [tritonmodels]
  verbs: [list, watch]
- apiGroups: [triton-operator.io]
  resources: [tritonservers]  # Those of models that bring their own; on all of them a finalizer.
  verbs: [list, watch, create, patch, delete]
- apiGroups: [triton-operator.io]
  resources: [tritonmodels/status, tritonservers/status]
  verbs: [patch]
# Children are owned with blockOwnerDeletion. Clusters that run the admission plugin OwnerReferencesPermissionEnforcement,
# as OpenShift does, ask for this; elsewhere nothing uses it.
- apiGroups: [triton-operator.io]
  resources: [tritonmodels/finalizers, tritonservers/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  # Watched also where none is wanted: one that was made before is then deleted.
  resources: [networkpolicies]
  verbs: [list, watch, delete{{ if .Values.servers.networkPolicy.enabled }}, create, patch{{ end }}]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]  # One for each server with two pods or more.
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  # Never deleted: claims go with their server, by Kubernetes' garbage collector. Claims of users are only looked at.
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [batch]
  resources: [jobs]  # Never changed once made.
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]  # Those that sync Jobs read; the names are known, so none is ever listed.
  verbs: [get, create, delete]
- apiGroups: [""]
  # The keys of model-control APIs; the names are known, so none is ever listed. One that was replaced is deleted.
  resources: [secrets]
  verbs: [get, create, delete]
- apiGroups: [""]
  # One in which a load never ended is deleted, so that its Deployment makes another; one that is idle is annotated, so
  # that it goes first when there are to be fewer.
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods/log]  # They alone tell why Triton refused a model, and how far a sync Job is.
  verbs: [get]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]  # Of others, who may be pointed at servers: told, and not fought.
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
