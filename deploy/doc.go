// Package deploy holds no code, only what runs Remora elsewhere:
//
//   - kubernetes/statefulset.yaml: an application with Remora as a native
//     sidecar, its spool on a volume that outlives the pod;
//   - systemd/remora.service and remora.yaml: Remora beside an application on
//     a host.
//
// Both are examples to copy. The tests hold each line that a promise rests on.
package deploy
