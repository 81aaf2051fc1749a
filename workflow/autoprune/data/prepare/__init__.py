"""From a source's own files to a client store and its partition."""
