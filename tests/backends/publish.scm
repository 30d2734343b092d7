;;; A double of `guix publish': the real web server, the real quirks, made-up store items. See double.scm for the
;;; arguments and the record.

(use-modules (double)
             (web request) (web response) (web uri)
             (ice-9 match) (ice-9 binary-ports) (rnrs bytevectors))

(define nar-type '(content-type . (application/octet-stream)))

(define (narinfo hash)
  (string-append "StorePath: /gnu/store/" hash "-item\n"
                 "NarHash: sha256:1v7ck2w5xaqwyw1zdzr5dlqzkhs5nq4xpjs9pqmvl10r0b6d8mlh\n"
                 "NarSize: 65536\nReferences: " hash "-item\nDeriver: " hash "-item.drv\n"
                 "Signature: 1;example;" (make-string 480 #\A) "\n"
                 "URL: nar/gzip/" hash "-item\nCompression: gzip\nFileSize: 65536\n"))

(define (blocks port count bytes pause)
  (let loop ((n count))
    (when (> n 0)
      (put-bytevector port bytes)
      (when (> pause 0) (force-output port) (usleep pause))
      (loop (- n 1)))))

(define (handle request body)
  (if (not (eq? 'GET (request-method request)))
      (not-found request)
      (match (path-of request)
        (("nix-cache-info")
         (values '((content-type . (text/plain)))
                 "StoreDir: /gnu/store\nWantMassQuery: 0\nPriority: 100\n"))
        ((or () ("index.html"))
         (values '((content-type . (text/html))) "<h1>GNU Guix Substitute Server</h1>"))
        (("signing-key.pub")
         (values '((content-type . (text/plain))) "(public-key (ecc (curve Ed25519) (q #00#)))\n"))
        (((? (lambda (s) (string-suffix? ".narinfo" s)) name))
         (let ((hash (string-drop-right name (string-length ".narinfo"))))
           (cond ((string-prefix? "missing" hash)
                  (not-found request #:headers '((cache-control . ((max-age . 300))))))
                 ((string-prefix? "baking" hash)
                  (not-found request #:headers '((cache-control . ((max-age . 300)))
                                                 (x-baking . "1"))))
                 (else
                  (values '((content-type . (application/x-nix-narinfo))
                            (cache-control . ((max-age . 7200))))
                          (narinfo hash))))))
        (("nar" "live" item)            ; not baked: no length, not chunked, and the connection stays open
         (thread-body '((content-type . (application/x-nix-archive))) #f 'hold
                      (lambda (port) (put-bytevector port (pattern-bytes item 20000)))))
        (("nar" "compressing" tenths)   ; the same, and it takes as long as compressing does
         (let ((tenths (string->number tenths)))
           (thread-body '((content-type . (application/x-nix-archive))) #f 'hold
                        (lambda (port)
                          (blocks port tenths (pattern-bytes "live" 1024) 100000)))))
        (("nar" "big" mib)
         (let ((mib (string->number mib)))
           (thread-body (list nar-type) (* mib 1048576) 'pool
                        (lambda (port)
                          (blocks port (* mib 16) (pattern-bytes "big" 65536) 0)))))
        (("nar" "slow" tenths)          ; 1 KiB every tenth of a second
         (let ((tenths (string->number tenths)))
           (thread-body (list nar-type) (* tenths 1024) 'pool
                        (lambda (port)
                          (blocks port tenths (pattern-bytes "slow" 1024) 100000)))))
        (("nar" "cut" item)             ; dies half way
         (thread-body (list nar-type) 20000 'close
                      (lambda (port) (put-bytevector port (pattern-bytes item 10000)))))
        ((or ("nar" (or "gzip" "lzip" "zstd") item) ("nar" item))
         (if (string-prefix? "missing" item)
             (not-found request)
             (file-body (list nar-type) (pattern-bytes item 65536))))
        (("file" name "sha256" hash)
         (file-body (list nar-type) (pattern-bytes name 5000)))
        (("log" item)                   ; gzip, whatever was asked for: "a log\n"
         (file-body '((content-type . (text/plain (charset . "utf-8"))) (content-encoding . (gzip)))
                    #vu8(31 139 8 0 0 0 0 0 0 3 75 84 200 201 79 231 2 0 128 130 185 75 6 0 0 0)))
        (_ (not-found request)))))

(serve (lambda (request body)
         (call-with-values (lambda () (handle request body))
           (lambda (response body)
             (values (preserve-connection request
                                          (if (response? response)
                                              response
                                              (build-response #:headers response)))
                     body))))
       (command-line))
