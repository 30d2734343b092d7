;;; What publish.scm and cuirass.scm share: Guile's own web server, with the `http-write' that the real programs put in
;;; its place, and a record of every request.
;;;
;;;   guile -L HERE SCRIPT ADDRESS PORT LOG-FILE       PORT may be 0; "listening PORT" on stdout says what it became
;;;
;;; One tab-separated line for each thing that happens:
;;;   REQ     METHOD  PATH[?QUERY]  PEER-PORT  BODY(uri-encoded)  Name: value  Name: value ...
;;;   ADMIN   METHOD  PATH                     the decoded path begins with "admin", whatever came of it
;;;   ACTION  NAME                             a state-changing action ran

(define-module (double)
  #:use-module (web server)
  #:use-module (web request)
  #:use-module (web response)
  #:use-module (web http)
  #:use-module (web uri)
  #:use-module (ice-9 match)
  #:use-module (ice-9 poll)
  #:use-module (ice-9 threads)
  #:use-module (rnrs bytevectors)
  #:use-module (ice-9 binary-ports)
  #:export (serve note path-of
            file-body thread-body preserve-connection
            not-found pattern-bytes))

(define log-port #f)
(define log-lock (make-mutex))

(define (note . fields)
  "Write one line of FIELDS to the record, whole."
  (with-mutex log-lock
    (display (string-join fields "\t") log-port)
    (newline log-port)
    (force-output log-port)))

(define (header-fields request)
  (let ((text (call-with-output-string
                (lambda (port) (write-headers (request-headers request) port)))))
    (filter (lambda (line) (not (string-null? line)))
            (string-split (string-delete #\return text) #\newline))))

(define (peer-port request)
  (false-if-exception
   (number->string (sockaddr:port (getpeername (request-port request))))))

(define (path-of request)
  "The path as both real programs see it: split at slashes, each part decoded, empty ones dropped."
  (let ((uri (request-uri request)))
    (if uri (split-and-decode-uri-path (uri-path uri)) '())))

(define (record request body)
  (let* ((uri    (request-uri request))
         (method (symbol->string (request-method request)))
         (target (if uri
                     (string-append (uri-path uri)
                                    (if (uri-query uri) (string-append "?" (uri-query uri)) ""))
                     "*")))
    (apply note "REQ" method target (or (peer-port request) "?")
           (if body (uri-encode (bytevector->latin1 body)) "")
           (header-fields request))
    (match (false-if-exception (path-of request))
      (("admin" . _) (note "ADMIN" method target))
      (_ #f))))

(define (bytevector->latin1 bv)
  (list->string (map integer->char (bytevector->u8-list bv))))

;;; Bodies that the server writes itself, as in guix/scripts/publish.scm and Cuirass's web/server/fiberized.scm: the
;;; handler returns an internal header, and `http-write' below acts on it in a thread of its own.

(define (thread-body headers length keep? write)
  "An answer whose body WRITE puts on the port in a thread. LENGTH #f: no Content-Length. KEEP?: what happens to the
connection afterwards: 'pool (served again, at once, as publish does), 'hold (left open and unread), 'close."
  (values (build-response #:validate-headers? #f
                          #:headers `((x-thread . ,(list length keep? write)) ,@headers))
          #vu8()))

(define* (file-body headers bytes #:key (keep? 'pool))
  "Like `x-raw-file' in publish ('pool) and Cuirass ('close)."
  (thread-body headers (bytevector-length bytes) keep?
               (lambda (port) (put-bytevector port bytes))))

(define (keep-alive? response)
  ;; Copied from (web server http), as publish does.
  (let ((v (response-version response)))
    (and (or (< (response-code response) 400)
             (= (response-code response) 404))
         (case (car v)
           ((1)
            (case (cdr v)
              ((1) (not (memq 'close (response-connection response))))
              ((0) (memq 'keep-alive (response-connection response)))))
           (else #f)))))

(define held '())                       ; ports kept from the garbage collector, which would close them

(define http-poll-set (@@ (web server http) http-poll-set))

(define (http-write server client response body)
  (define (pool)
    (force-output client)
    (poll-set-add! (http-poll-set server) client (logior POLLHUP POLLERR POLLIN)))
  (match (assq-ref (response-headers response) 'x-thread)
    ((length keep write)
     (let* ((headers  (filter (match-lambda ((k . _) (not (memq k '(x-thread content-length)))))
                              (response-headers response)))
            (headers  (if length `((content-length . ,length) ,@headers) headers))
            (close?   (or (eq? keep 'close) (not (keep-alive? response))))
            (response (build-response #:version (response-version response)
                                      #:code (response-code response)
                                      #:headers headers)))
       ;; Before the body is written: a pipelined request is answered in the midst of it. So does publish.
       (when (and (eq? keep 'pool) (not close?)) (pool))
       (call-with-new-thread
        (lambda ()
          (catch #t
            (lambda ()
              (write-response response client)
              (write client)
              (force-output client))
            (const #f))
          (if close?
              (false-if-exception (close-port client))
              (set! held (cons client held)))))
       (values)))
    (#f
     (let* ((response (write-response response client)))
       (when (bytevector? body) (write-response-body response body))
       (if (keep-alive? response) (pool) (close-port client))
       (values)))))

(define double
  ((@ (web server) make-server-impl) 'double
   (@@ (web server http) http-open)
   (@@ (web server http) http-read)
   http-write
   (@@ (web server http) http-close)))

(define (preserve-connection request response)
  "RESPONSE with the request's Connection header, as publish does, so that a client may ask for a close."
  (let ((connection (assq-ref (request-headers request) 'connection)))
    (if connection
        (build-response #:version (response-version response)
                        #:code (response-code response)
                        #:validate-headers? #f
                        #:headers `((connection . ,connection)
                                    ,@(filter (match-lambda ((k . _) (not (eq? k 'connection))))
                                              (response-headers response))))
        response)))

(define* (not-found request #:key (headers '()))
  (values (build-response #:code 404 #:headers `((content-type . (text/plain)) ,@headers))
          (string-append "Resource not found: " (uri-path (request-uri request)))))

(define (pattern-bytes seed size)
  "SIZE bytes: SEED and a newline over and over. The tests know this pattern too."
  (let* ((unit (string->utf8 (string-append seed "\n")))
         (n    (bytevector-length unit))
         (out  (make-bytevector size)))
    (let loop ((at 0))
      (when (< at size)
        (bytevector-copy! unit 0 out at (min n (- size at)))
        (loop (+ at n))))
    out))

(define (serve handler arguments)
  (match arguments
    ((_ address port log)
     (set! log-port (open-file log "a"))
     (let* ((family (if (string-index address #\:) AF_INET6 AF_INET))
            (sock   (socket family SOCK_STREAM 0)))
       (setsockopt sock SOL_SOCKET SO_REUSEADDR 1)
       (bind sock family (inet-pton family address) (string->number port))
       (listen sock 128)
       (format #t "listening ~a~%" (sockaddr:port (getsockname sock)))
       (force-output)
       (run-server (lambda (request body)
                     (record request body)
                     (handler request body))
                   double `(#:socket ,sock))))))
