// Package settings finds out which cluster a program is to use, and with which
// token: from environment variables, and from the settings file that clients of
// Arvados share.
//
// The variables are ARVADOS_API_HOST (host[:port], reached by https, or a URL
// such as http://127.0.0.1:8080), ARVADOS_API_TOKEN, ARVADOS_API_HOST_INSECURE,
// ARVADOS_KEEP_SERVICES and ARVADOS_DISABLE_WEBSOCKETS. The file has lines
// KEY=VALUE; what the environment says wins, variable by variable.
//
// Errors say which variable is wrong and where it comes from. They never have a
// token in them.
package settings
