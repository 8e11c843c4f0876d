// Package remote tries keep-mount, and keep-dav in front of a cluster, on a keep-dav
// elsewhere: programs that know no more of each other than ARVADOS_API_HOST,
// ARVADOS_API_TOKEN and ARVADOS_API_HOST_INSECURE.
package remote
