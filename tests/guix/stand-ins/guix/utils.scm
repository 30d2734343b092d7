(define-module (guix utils)
  #:export (current-source-directory folder-of-source))

(define (folder-of-source file)
  ;; Guile names what it finds in the load path relative to that.
  (dirname (canonicalize-path (or (%search-load-path file) file))))

(define-syntax current-source-directory
  (lambda (form)
    #`(folder-of-source #,(assq-ref (syntax-source form) 'filename))))
