(define-module (gnu packages admin)
  #:use-module (guix gexp)
  #:export (shadow))

(define shadow (make-file-like "/gnu/store/shadow" '()))
