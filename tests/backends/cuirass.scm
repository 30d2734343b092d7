;;; A double of Cuirass's web server: it believes whoever reaches it. See double.scm for the arguments and the record.

(use-modules (double)
             (web request) (web response) (web uri)
             (ice-9 match) (ice-9 binary-ports) (rnrs bytevectors))

(define (html text)
  (values '((content-type . (text/html (charset . "utf-8")))) text))

(define (redirect path)
  (values (build-response #:code 302
                          #:headers `((content-type . (text/html))
                                      (location . ,(string->uri-reference path))))
          (string-append "Redirect to " path)))

(define (handle request body)
  (match (cons (request-method request) (path-of request))
    (('GET) (html "<!doctype html><title>Cuirass</title><h1>Specifications</h1>"))
    (('GET "jobset" name) (html (string-append "<h1>Jobset " name "</h1>")))
    (('GET "static" name)
     (file-body `((content-type . (,(if (string-suffix? ".css" name) 'text/css 'application/octet-stream)))
                  (cache-control . (public (max-age . 43200))))
                (pattern-bytes name 3000) #:keep? 'close))
    (('GET "download" id)               ; a silent close after the file
     (file-body `((content-type . (application/octet-stream))
                  (content-disposition . (form-data (filename . ,(string-append "product-" id))))
                  (cache-control . (public (max-age . 43200))))
                (pattern-bytes id 50000) #:keep? 'close))
    (('GET "log" id)
     (values '((content-type . (text/plain (charset . "utf-8")))) "build log\n"))
    (('GET "api" "error") (values (build-response #:code 500) "missing parameter"))
    (('GET "api" "echo")                ; the request's headers, as they reached us
     (values '((content-type . (text/plain)))
             (call-with-output-string
               (lambda (port)
                 (for-each (match-lambda ((k . v) (format port "~a: ~s~%" k v)))
                           (request-headers request))))))
    (('GET "slow" tenths)               ; answers after N tenths of a second, others are served meanwhile
     (thread-body '((content-type . (text/plain))) 4 'pool
                  (lambda (port)
                    (usleep (* 100000 (string->number tenths)))
                    (put-bytevector port (string->utf8 "done")))))
    (('POST "jobset" name "hook" "evaluate")
     (note "ACTION" "evaluate" name (number->string (if body (bytevector-length body) 0)))
     (values '((content-type . (text/plain))) "ok"))
    (('GET "admin") (html "<h1>Admin</h1>"))
    (('GET "admin" "build" id "restart")
     (note "ACTION" "restart" id)
     (redirect (string-append "/build/" (uri-encode id) "/details")))
    (('POST "admin" "specification" (or "add" "edit"))
     (note "ACTION" "specification" (if body (uri-encode (utf8->string body)) ""))
     (redirect "/"))
    (('GET "admin" "specifications" (and verb (or "delete" "deactivate")) name)
     (note "ACTION" verb name)
     (redirect "/"))
    (_ (not-found request))))

(serve handle (command-line))
