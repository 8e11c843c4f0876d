package dav

import (
	"mime"
	"strings"
)

// contentTypes is the media type by extension, without looking at the bytes and
// the same on every machine. mime's table, which differs between machines, only
// helps with what is not here.
var contentTypes = map[string]string{
	"txt": "text/plain; charset=utf-8", "text": "text/plain; charset=utf-8", "log": "text/plain; charset=utf-8", "md": "text/markdown; charset=utf-8",
	"csv": "text/csv; charset=utf-8", "tsv": "text/tab-separated-values; charset=utf-8", "htm": "text/html; charset=utf-8", "html": "text/html; charset=utf-8",
	"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "mjs": "text/javascript; charset=utf-8", "json": "application/json",
	"xml": "application/xml", "yaml": "application/yaml", "yml": "application/yaml", "pdf": "application/pdf", "rtf": "application/rtf",
	"zip": "application/zip", "gz": "application/gzip", "tgz": "application/gzip", "bz2": "application/x-bzip2", "xz": "application/x-xz",
	"zst": "application/zstd", "tar": "application/x-tar", "7z": "application/x-7z-compressed", "rar": "application/vnd.rar",
	"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "svg": "image/svg+xml", "webp": "image/webp",
	"tif": "image/tiff", "tiff": "image/tiff", "bmp": "image/bmp", "ico": "image/vnd.microsoft.icon", "heic": "image/heic", "avif": "image/avif",
	"mp3": "audio/mpeg", "ogg": "audio/ogg", "oga": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "m4a": "audio/mp4",
	"mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mkv": "video/x-matroska", "avi": "video/x-msvideo",
	"doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint",
	"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	"odt":  "application/vnd.oasis.opendocument.text", "ods": "application/vnd.oasis.opendocument.spreadsheet",
	"odp": "application/vnd.oasis.opendocument.presentation", "wasm": "application/wasm", "eml": "message/rfc822",
	"woff": "font/woff", "woff2": "font/woff2", "ttf": "font/ttf", "otf": "font/otf",
	"bin": octetStream, "dat": octetStream, "bam": octetStream, "h5": "application/x-hdf5", "fastq": "text/plain; charset=utf-8", "fasta": "text/plain; charset=utf-8",
}

const octetStream = "application/octet-stream"

// contentType is the media type that the name suggests.
func contentType(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || i == len(name)-1 || len(name)-i > 16 {
		return octetStream
	}
	ext := name[i+1:]
	if t, ok := contentTypes[ext]; ok {
		return t
	}
	for j := range len(ext) {
		if c := ext[j]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return octetStream
		}
	}
	if t, ok := contentTypes[strings.ToLower(ext)]; ok {
		return t
	}
	if t := mime.TypeByExtension(name[i:]); t != "" {
		return t
	}
	return octetStream
}
