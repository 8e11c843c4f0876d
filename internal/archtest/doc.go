// Package archtest holds the tests that keep the layers of the module apart.
package archtest
