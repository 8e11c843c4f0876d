// Package control is the way into a store that another process has open: a socket
// in the store's directory, on which the process answers calls.
//
// A call names an operation and has arguments; the answer is any number of
// reports of progress, then a result or an error. All of it is JSON, one value a
// line, to the byte: see Marshal. Only the owner of the store can connect, by the
// mode of the socket.
//
// Start reading at server.go, then client.go.
package control
