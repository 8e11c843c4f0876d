// Package embedded opens a store in a directory and puts its parts together:
// blocks and spool, catalog, collections, site and maintenance.
//
// One process at a time has a store open. Open takes its lock, does what a crash
// left undone, and starts the background work; Close writes everything down. Which
// user sees what, who serves it and how others reach it is the business of
// the commands.
package embedded
